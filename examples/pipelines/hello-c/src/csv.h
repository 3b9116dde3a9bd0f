#ifndef HELLO_CSV_H
#define HELLO_CSV_H
/* Reads CSV as RFC 4180 describes it: quoted fields, doubled quotes, line breaks inside quotes, CRLF or LF. */
#include <stddef.h>

enum csv_status { CSV_OK, CSV_BARE_QUOTE, CSV_UNTERMINATED_QUOTE, CSV_NO_MEMORY };

struct csv_row {
  char **fields; /* NUL-terminated, without the quotes */
  size_t count;
};

struct csv_table {
  struct csv_row *rows;
  size_t count;
  size_t error_line; /* 1-based; 0 when the text was read to its end */
};

/* The table is the caller's to free, also after an error: it then holds the rows before the bad one. */
enum csv_status csv_parse(const char *text, size_t length, struct csv_table *table);
void csv_free(struct csv_table *table);
const char *csv_status_text(enum csv_status status);

#endif
