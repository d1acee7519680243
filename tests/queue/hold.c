/* hold FOLDER SLOTS ID MILLISECONDS [STAY]: the command of the kill storms.

   Takes one of SLOTS detector locks in FOLDER without waiting and keeps it for MILLISECONDS. One too many at once finds
   none free and says so: the kernel judges overlaps, also when holders are killed. Appends to FOLDER/log, a line each:
   S ID PID NANOSECONDS, E ID PID NANOSECONDS, and OVERLAP ID PID NANOSECONDS.
   With STAY every descriptor from 3 on is closed first, as Python's subprocess and Node do for their children.  */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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

int main(int argc, char **argv) {
  if (argc < 5) return 98;
  int slots = atoi(argv[2]), got = 0;
  long ms = atol(argv[4]);
  if (argc > 5)
    for (int fd = 3; fd < 256; fd++) close(fd);
  close(0); /* the detector lock gets descriptor 0: Linux closes the lowest last, so behind the lock of the queue */
  for (int i = 0; i < slots && !got; i++) {
    snprintf(path, sizeof path, "%s/slot.%d", argv[1], i);
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    if (fd < 0) return 97;
    got = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!got) close(fd);
  }
  if (!got) say(argv[1], "OVERLAP", argv[3]);
  say(argv[1], "S", argv[3]);
  struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
  while (nanosleep(&t, &t) != 0) {}
  say(argv[1], "E", argv[3]);
  return 0;
}
