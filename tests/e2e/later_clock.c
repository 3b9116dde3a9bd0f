// A wall clock that is LATER_SECONDS ahead, for the program that this library is preloaded into: what a template's age is
// to the run that restores it.
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  const int result = (int)syscall(SYS_clock_gettime, clock, now);
  const char *later = getenv("LATER_SECONDS");
  if (result == 0 && clock == CLOCK_REALTIME && later) now->tv_sec += atol(later);
  return result;
}
