/* hold FOLDER SLOTS ID MILLISECONDS [STAY]: the command of the kill storms.

   Takes one of SLOTS detector locks in FOLDER without waiting and keeps it for MILLISECONDS. One too many at once finds
   none free and says so: the kernel judges overlaps, also when holders are killed. A holder that is being torn down
   does not count: it runs no instruction any more, but its locks go one by one, and it may lose the core in between.
   Appends to FOLDER/log, a line each: S ID PID NANOSECONDS, E ID PID NANOSECONDS, OVERLAP ID PID NANOSECONDS,
   and W ... when it had to wait for one being torn down.
   With STAY every descriptor from 3 on is closed first, as Python's subprocess and Node do for their children.  */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static char path[4096];

static void say(const char *folder, const char *what, const char *id) {
  struct timespec t;
  char line[256];
  clock_gettime(CLOCK_MONOTONIC, &t);
  int n = snprintf(line, sizeof line, "%s %s %d %lld\n", what, id, (int)getpid(), t.tv_sec * 1000000000LL + t.tv_nsec);
  snprintf(path, sizeof path, "%s/log", folder);
  int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
  if (fd < 0 || write(fd, line, (size_t)n) != n) _exit(99);
  close(fd);
}

/* Whether the process that wrote its number into the slot file is on its way out or gone (proc_pid_stat(5)). */
static int going(int fd) {
  char text[4096];
  ssize_t n = pread(fd, text, sizeof text - 1, 0);
  if (n <= 0) return 0;
  text[n] = 0;
  int pid = atoi(text);
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int stat = open(path, O_RDONLY);
  if (stat < 0) return access("/proc/self/stat", R_OK) == 0 || kill(pid, 0) != 0;
  n = read(stat, text, sizeof text - 1);
  close(stat);
  if (n <= 0) return 1;
  text[n] = 0;
  char state = 0;
  unsigned flags = 0;
  char *rest = strrchr(text, ')');
  if (!rest || sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2) return 0;
  return state == 'Z' || state == 'X' || (flags & 4); /* PF_EXITING in include/linux/sched.h */
}

int main(int argc, char **argv) {
  if (argc < 5) return 98;
  int slots = atoi(argv[2]), got = 0, told = 0;
  long ms = atol(argv[4]);
  if (argc > 5)
    for (int fd = 3; fd < 256; fd++) close(fd);
  for (int leaving = 1; leaving && !got;) {
    leaving = 0;
    for (int i = 0; i < slots && !got; i++) {
      snprintf(path, sizeof path, "%s/slot.%d", argv[1], i);
      int fd = open(path, O_RDWR | O_CREAT, 0644);
      if (fd < 0) return 97;
      got = flock(fd, LOCK_EX | LOCK_NB) == 0;
      if (got) {
        char pid[16];
        int n = snprintf(pid, sizeof pid, "%-12d\n", (int)getpid());
        if (pwrite(fd, pid, (size_t)n, 0) != n) return 96;
      } else {
        leaving |= going(fd);
        close(fd);
      }
    }
    if (leaving && !got) {
      if (!told++) say(argv[1], "W", argv[3]);
      usleep(100);
    }
  }
  if (!got) say(argv[1], "OVERLAP", argv[3]);
  say(argv[1], "S", argv[3]);
  struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
  while (nanosleep(&t, &t) != 0) {}
  say(argv[1], "E", argv[3]);
  return 0;
}
