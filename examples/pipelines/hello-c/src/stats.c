#include "stats.h"

#include <math.h>
#include <stdlib.h>

static int parse_number(const char *text, double *number) {
  char *end = NULL;
  *number = strtod(text, &end);
  return end != text && *end == '\0' && isfinite(*number);
}

struct column_stats column_stats(const struct csv_table *table, size_t column, size_t first_row) {
  struct column_stats stats = {0};
  double squares = 0; /* Welford's sum: does not cancel where the mean is large */
  for (size_t i = first_row; i < table->count; ++i) {
    double number = 0;
    if (column >= table->rows[i].count || !parse_number(table->rows[i].fields[column], &number)) {
      ++stats.others;
      continue;
    }
    if (stats.numbers == 0 || number < stats.min) stats.min = number;
    if (stats.numbers == 0 || number > stats.max) stats.max = number;
    ++stats.numbers;
    double delta = number - stats.mean;
    stats.mean += delta / (double)stats.numbers;
    squares += delta * (number - stats.mean);
  }
  if (stats.numbers > 1) stats.deviation = sqrt(squares / (double)(stats.numbers - 1));
  return stats;
}
