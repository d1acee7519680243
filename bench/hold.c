/* hold LOG ID MS [GATE]   the command that every tool under test runs.
 *
 * Appends "S id ns pid" when it starts and "E id ns pid" just before it exits (one O_APPEND write each,
 * CLOCK_MONOTONIC), and holds for MS milliseconds in between; with GATE (a FIFO) until its writer closes it.
 * With HOLD_DEAF in the environment it ignores SIGTERM. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void mark(const char *log, char event, const char *id)
{
	struct timespec t;
	char line[160];
	clock_gettime(CLOCK_MONOTONIC, &t);
	int n = snprintf(line, sizeof line, "%c %s %lld %d\n", event, id,
			 (long long)t.tv_sec * 1000000000LL + t.tv_nsec, (int)getpid());
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd < 0 || write(fd, line, n) != n)
		_exit(3);
	close(fd);
}

int main(int count, char **words)
{
	if (count < 4)
		return 2;
	if (getenv("HOLD_DEAF"))
		signal(SIGTERM, SIG_IGN);
	mark(words[1], 'S', words[2]);
	if (count > 4) {
		char byte;
		int gate = open(words[4], O_RDONLY);
		while (gate >= 0 && read(gate, &byte, 1) > 0) {
		}
	} else {
		long ms = atol(words[3]);
		struct timespec t = { ms / 1000, ms % 1000 * 1000000L };
		nanosleep(&t, 0);
	}
	mark(words[1], 'E', words[2]);
	return 0;
}
