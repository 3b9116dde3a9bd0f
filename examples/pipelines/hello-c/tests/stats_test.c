#include "../src/stats.h"

#include "check.h"

#include <math.h>
#include <string.h>

static struct column_stats of(const char *text, size_t column) {
  struct csv_table table;
  struct column_stats stats = {0};
  if (csv_parse(text, strlen(text), &table) == CSV_OK) stats = column_stats(&table, column, 1);
  csv_free(&table);
  return stats;
}

static int near(double a, double b) { return fabs(a - b) < 1e-9; }

static void known_figures(void) {
  struct column_stats stats = of("v\n2\n4\n4\n4\n5\n5\n7\n9\n", 0);
  CHECK(stats.numbers == 8 && stats.others == 0);
  CHECK(near(stats.min, 2) && near(stats.max, 9) && near(stats.mean, 5));
  CHECK(near(stats.deviation, sqrt(32.0 / 7.0)));
}

static void what_is_no_number(void) {
  struct column_stats stats = of("n,v\na,1\nb,\nc,x1\nd\ne,1e1\nf,inf\n", 1);
  CHECK(stats.numbers == 2 && stats.others == 4);
  CHECK(near(stats.mean, 5.5));
}

static void large_mean(void) {
  struct column_stats stats = of("v\n1000000004\n1000000007\n1000000013\n1000000016\n", 0);
  CHECK(near(stats.deviation, sqrt(30)));
}

static void nothing_there(void) {
  struct column_stats stats = of("v\n", 0);
  CHECK(stats.numbers == 0 && stats.others == 0 && near(stats.deviation, 0));
  CHECK(of("v\n3\n", 0).deviation == 0);
}

int main(void) {
  run("the figures of a known sample", known_figures);
  run("empty cells, text and short rows do not count", what_is_no_number);
  run("a large mean does not spoil the deviation", large_mean);
  run("no rows, one row", nothing_there);
  return report("stats");
}
