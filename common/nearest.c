#include "common/nearest.h"

#include <stdbool.h>
#include <string.h>

#include "common/ascii.h"

enum { WORD_MAX = 63 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool same(char a, char b)
{
    return ascii_lower(a) == ascii_lower(b);
}

/* Optimal string alignment: rows are prefixes of a, columns prefixes of b. */
size_t nearest_distance(const char *a, const char *b)
{
    size_t rows[WORD_MAX + 1][WORD_MAX + 1];
    size_t n = strnlen(a, WORD_MAX), m = strnlen(b, WORD_MAX);

    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        rows[i][0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t changed = rows[i - 1][j - 1] + !same(a[i - 1], b[j - 1]);
            rows[i][j] = smaller(changed, 1 + smaller(rows[i - 1][j], rows[i][j - 1]));
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                rows[i][j] = smaller(rows[i][j], rows[i - 2][j - 2] + 1);
        }
    }
    return rows[n][m];
}

void nearest_offer(struct nearest *nearest, const char *word)
{
    size_t distance = nearest_distance(nearest->typed, word);
    size_t allowed = 1 + smaller(strlen(nearest->typed), strlen(word)) / 3;

    if (distance > allowed || (nearest->best && distance >= nearest->distance))
        return;
    nearest->best = word;
    nearest->distance = distance;
}
