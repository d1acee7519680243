/* Preloaded into k1ctl: kills it right before its Nth call into the kernel that changes or tests something shared.

   CRASH_WHO=supervisor counts in the process that called setsid, CRASH_WHO=front in the one that forked it.
   CRASH_AT is N, CRASH_SIGNAL what is sent (default KILL). Only the first process that gets there is struck: it takes
   the file CRASH_TOKEN away. CRASH_COUNT is a file that a supervisor's last count is written to,
   CRASH_BEGUN one for its count at the start of the command.  */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int armed, count;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void step(void) {
  if (!armed) return;
  count++;
  const char *at = getenv("CRASH_AT"), *token = getenv("CRASH_TOKEN"), *number = getenv("CRASH_SIGNAL");
  if (!at || atoi(at) != count || !token || REAL(unlink)(token) != 0) return;
  kill(getpid(), number ? atoi(number) : SIGKILL);
}

static int is(const char *who) {
  const char *wanted = getenv("CRASH_WHO");
  return wanted && !strcmp(wanted, who);
}

pid_t setsid(void) {
  pid_t sid = REAL(setsid)();
  armed = is("supervisor");
  return sid;
}

pid_t fork(void) {
  pid_t pid = REAL(fork)();
  if (pid > 0 && is("front")) armed = 1;
  return pid;
}

static void tell(const char *name) {
  const char *path = getenv(name);
  if (!armed || !path) return;
  char text[16];
  int fd = REAL(open)(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  int n = snprintf(text, sizeof text, "%d", count);
  if (REAL(write)(fd, text, (size_t)n) != n) abort();
  REAL(close)(fd);
}

void _exit(int code) {
  tell("CRASH_COUNT");
  REAL(_exit)(code);
  __builtin_unreachable();
}

#define OPEN(name)                                   \
  int name(const char *path, int flags, ...) {       \
    va_list more;                                    \
    va_start(more, flags);                           \
    mode_t mode = va_arg(more, mode_t);              \
    va_end(more);                                    \
    step();                                          \
    return REAL(name)(path, flags, mode);            \
  }
OPEN(open)
OPEN(open64)

int flock(int fd, int operation) { step(); return REAL(flock)(fd, operation); }
int rename(const char *a, const char *b) { step(); return REAL(rename)(a, b); }
int unlink(const char *path) { step(); return REAL(unlink)(path); }
int mkdir(const char *path, mode_t mode) { step(); return REAL(mkdir)(path, mode); }
int close(int fd) { step(); return REAL(close)(fd); }
int ftruncate(int fd, off_t length) { step(); return REAL(ftruncate)(fd, length); }
int ftruncate64(int fd, off64_t length) { step(); return REAL(ftruncate64)(fd, length); }
ssize_t write(int fd, const void *data, size_t n) { step(); return REAL(write)(fd, data, n); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { step(); return REAL(pwrite)(fd, data, n, at); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) { step(); return REAL(pwrite64)(fd, data, n, at); }
int poll(struct pollfd *fds, nfds_t n, int timeout) { step(); return REAL(poll)(fds, n, timeout); }
int dup2(int a, int b) { step(); return REAL(dup2)(a, b); }
int chdir(const char *path) { step(); return REAL(chdir)(path); }
int utimensat(int fd, const char *path, const struct timespec t[2], int flags) {
  step();
  return REAL(utimensat)(fd, path, t, flags);
}
pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage) {
  step();
  return REAL(wait4)(pid, status, options, usage);
}
int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                 char *const argv[], char *const envp[]) {
  step();
  tell("CRASH_BEGUN");
  int code = REAL(posix_spawnp)(pid, file, actions, attr, argv, envp);
  step();
  return code;
}
