#ifndef HELLO_CHECK_H
#define HELLO_CHECK_H
/* The smallest test runner: CHECK counts and reports, main() returns failures. Each line of the report is `ok` or `FAIL`. */
#include <stdio.h>

static int checks, failures;

#define CHECK(condition)                                                \
  do {                                                                  \
    ++checks;                                                           \
    if (!(condition)) {                                                 \
      ++failures;                                                       \
      printf("  %s:%d: %s is false\n", __FILE__, __LINE__, #condition); \
    }                                                                   \
  } while (0)

static void run(const char *name, void (*test)(void)) {
  int before = failures;
  test();
  printf("%-4s %s\n", failures == before ? "ok" : "FAIL", name);
  fflush(stdout);
}

static int report(const char *suite) {
  printf("%s: %d checks, %d failed\n", suite, checks, failures);
  return failures != 0;
}

#endif
