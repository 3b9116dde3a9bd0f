/* csvstat FILE: for each column of a CSV file with a header line, how many numbers it has and what they are like. */
#include "csv.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>

static char *read_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  char *text = NULL;
  size_t room = 0, got = 0;
  if (file == NULL) return NULL;
  do {
    room = room == 0 ? 4096 : room * 2;
    char *more = realloc(text, room);
    if (more == NULL) break;
    text = more;
    got += fread(text + got, 1, room - got, file);
  } while (got == room);
  int bad = ferror(file);
  fclose(file);
  if (bad) {
    free(text);
    return NULL;
  }
  *length = got;
  return text;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: csvstat FILE\n");
    return 2;
  }
  size_t length = 0;
  char *text = read_file(argv[1], &length);
  if (text == NULL) {
    perror(argv[1]);
    return 1;
  }
  struct csv_table table;
  enum csv_status status = csv_parse(text, length, &table);
  free(text);
  if (status != CSV_OK) {
    fprintf(stderr, "%s:%zu: %s\n", argv[1], table.error_line, csv_status_text(status));
    csv_free(&table);
    return 1;
  }
  for (size_t column = 0; table.count > 0 && column < table.rows[0].count; ++column) {
    struct column_stats stats = column_stats(&table, column, 1);
    if (stats.numbers == 0) {
      printf("%-12s text\n", table.rows[0].fields[column]);
    } else {
      printf("%-12s n=%zu min=%g max=%g mean=%.3f sd=%.3f\n", table.rows[0].fields[column], stats.numbers, stats.min, stats.max,
             stats.mean, stats.deviation);
    }
  }
  csv_free(&table);
  return 0;
}
