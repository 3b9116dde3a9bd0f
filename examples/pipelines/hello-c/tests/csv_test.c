#include "../src/csv.h"

#include "check.h"

#include <string.h>

static enum csv_status parse(const char *text, struct csv_table *table) { return csv_parse(text, strlen(text), table); }

static int is(const struct csv_table *table, size_t row, size_t field, const char *text) {
  return row < table->count && field < table->rows[row].count && strcmp(table->rows[row].fields[field], text) == 0;
}

static void plain_fields(void) {
  struct csv_table table;
  CHECK(parse("a,b,c\n1,2,3\n", &table) == CSV_OK);
  CHECK(table.count == 2 && table.rows[0].count == 3);
  CHECK(is(&table, 0, 2, "c") && is(&table, 1, 0, "1"));
  csv_free(&table);
}

static void quotes(void) {
  struct csv_table table;
  CHECK(parse("\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\"\n", &table) == CSV_OK);
  CHECK(is(&table, 0, 0, "a,b") && is(&table, 0, 1, "say \"hi\"") && is(&table, 0, 2, "two\nlines"));
  csv_free(&table);
}

static void line_ends(void) {
  struct csv_table table;
  CHECK(parse("a,b\r\nc,d", &table) == CSV_OK);
  CHECK(table.count == 2 && is(&table, 0, 1, "b") && is(&table, 1, 1, "d"));
  csv_free(&table);
  CHECK(parse("", &table) == CSV_OK && table.count == 0);
  CHECK(parse("a,\n,b\n", &table) == CSV_OK && is(&table, 0, 1, "") && is(&table, 1, 0, ""));
  csv_free(&table);
}

static void bad_input(void) {
  struct csv_table table;
  CHECK(parse("a\nb\"c\n", &table) == CSV_BARE_QUOTE && table.error_line == 2 && table.count == 1);
  csv_free(&table);
  CHECK(parse("\"a\"b\n", &table) == CSV_BARE_QUOTE);
  csv_free(&table);
  CHECK(parse("x\n\"never ends\n\n", &table) == CSV_UNTERMINATED_QUOTE && table.error_line == 2);
  csv_free(&table);
}

static void many_rows(void) {
  struct csv_table table;
  char text[3000];
  for (size_t i = 0; i < sizeof text; i += 3) memcpy(text + i, "7,\n", 3);
  CHECK(csv_parse(text, sizeof text, &table) == CSV_OK && table.count == 1000 && is(&table, 999, 0, "7"));
  csv_free(&table);
}

int main(void) {
  run("plain fields are split at commas and lines", plain_fields);
  run("quotes hold commas, quotes and line breaks", quotes);
  run("LF, CRLF, no final line break, empty fields", line_ends);
  run("a misplaced quote is an error with its line", bad_input);
  run("a thousand rows", many_rows);
  return report("csv");
}
