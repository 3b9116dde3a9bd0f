#include "csv.h"

#include <stdlib.h>
#include <string.h>

struct reader {
  const char *text;
  size_t length;
  size_t at;
  size_t line;
};

static int append(void **items, size_t *count, size_t size, const void *item) {
  /* Room is doubled whenever the count reaches a power of two. */
  if ((*count & (*count - 1)) == 0) {
    void *more = realloc(*items, size * (*count == 0 ? 1 : *count * 2));
    if (more == NULL) return 0;
    *items = more;
  }
  memcpy((char *)*items + *count * size, item, size);
  ++*count;
  return 1;
}

static int at_end_of_field(const struct reader *in) {
  if (in->at == in->length) return 1;
  char c = in->text[in->at];
  return c == ',' || c == '\n' || (c == '\r' && in->at + 1 < in->length && in->text[in->at + 1] == '\n');
}

static enum csv_status read_quoted(struct reader *in, char *out, size_t *written) {
  ++in->at;
  while (in->at < in->length) {
    char c = in->text[in->at++];
    if (c == '"') {
      if (in->at < in->length && in->text[in->at] == '"') {
        ++in->at;
      } else {
        return at_end_of_field(in) ? CSV_OK : CSV_BARE_QUOTE;
      }
    } else if (c == '\n') {
      ++in->line;
    }
    out[(*written)++] = c;
  }
  return CSV_UNTERMINATED_QUOTE;
}

static enum csv_status read_plain(struct reader *in, char *out, size_t *written) {
  while (!at_end_of_field(in)) {
    if (in->text[in->at] == '"') return CSV_BARE_QUOTE;
    out[(*written)++] = in->text[in->at++];
  }
  return CSV_OK;
}

static enum csv_status read_field(struct reader *in, char **field) {
  size_t written = 0;
  char *out = malloc(in->length - in->at + 1);
  if (out == NULL) return CSV_NO_MEMORY;
  int quoted = in->at < in->length && in->text[in->at] == '"';
  enum csv_status status = quoted ? read_quoted(in, out, &written) : read_plain(in, out, &written);
  if (status != CSV_OK) {
    free(out);
    return status;
  }
  out[written++] = '\0';
  char *fitted = realloc(out, written);
  *field = fitted != NULL ? fitted : out;
  return CSV_OK;
}

static void free_row(struct csv_row *row) {
  for (size_t i = 0; i < row->count; ++i) free(row->fields[i]);
  free(row->fields);
}

static enum csv_status read_row(struct reader *in, struct csv_row *row) {
  for (;;) {
    char *field = NULL;
    enum csv_status status = read_field(in, &field);
    if (status == CSV_OK && !append((void **)&row->fields, &row->count, sizeof field, &field)) {
      free(field);
      status = CSV_NO_MEMORY;
    }
    if (status != CSV_OK || in->at == in->length) return status;
    if (in->text[in->at] == ',') {
      ++in->at;
      continue;
    }
    in->at += in->text[in->at] == '\r' ? 2 : 1;
    return CSV_OK;
  }
}

enum csv_status csv_parse(const char *text, size_t length, struct csv_table *table) {
  struct reader in = {text, length, 0, 1};
  memset(table, 0, sizeof *table);
  while (in.at < in.length) {
    struct csv_row row = {NULL, 0};
    size_t first_line = in.line;
    enum csv_status status = read_row(&in, &row);
    if (status == CSV_OK && !append((void **)&table->rows, &table->count, sizeof row, &row)) status = CSV_NO_MEMORY;
    if (status != CSV_OK) {
      free_row(&row);
      table->error_line = first_line;
      return status;
    }
    ++in.line;
  }
  return CSV_OK;
}

void csv_free(struct csv_table *table) {
  for (size_t i = 0; i < table->count; ++i) free_row(&table->rows[i]);
  free(table->rows);
  memset(table, 0, sizeof *table);
}

const char *csv_status_text(enum csv_status status) {
  switch (status) {
    case CSV_OK: return "fine";
    case CSV_BARE_QUOTE: return "a quote inside an unquoted field";
    case CSV_UNTERMINATED_QUOTE: return "a quoted field without an end";
    case CSV_NO_MEMORY: return "out of memory";
  }
  return "unknown";
}
