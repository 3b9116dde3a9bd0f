#ifndef HELLO_STATS_H
#define HELLO_STATS_H
/* Figures of one numeric column. */
#include "csv.h"

struct column_stats {
  size_t numbers; /* cells that are numbers */
  size_t others;  /* empty cells, text, and rows too short to have the column */
  double min, max, mean;
  double deviation; /* of the sample; 0 for fewer than two numbers */
};

/* Rows from first_row on. */
struct column_stats column_stats(const struct csv_table *table, size_t column, size_t first_row);

#endif
