#include "worker/cli/ask_secret.h"

#include <errno.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "worker/cli/print.h"

enum key { KEY_INTERRUPT = 3, KEY_END = 4, KEY_BACKSPACE = 8, KEY_KILL = 21, KEY_DELETE = 127 };

enum typed { TYPED_MORE, TYPED_WHOLE, TYPED_GIVEN_UP, TYPED_TOO_MUCH };

/* Keys arrive one by one, without echo, and none of them makes a signal. */
static bool hush(struct termios *before)
{
    if (tcgetattr(STDIN_FILENO, before) != 0)
        return false;
    struct termios silent = *before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG | IEXTEN);
    silent.c_cc[VMIN] = 1;
    silent.c_cc[VTIME] = 0;
    return tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0;
}

static enum typed take_key(char *room, size_t max, size_t *n, char key)
{
    switch (key) {
    case '\r':
    case '\n':
        return TYPED_WHOLE;
    case KEY_INTERRUPT:
        return TYPED_GIVEN_UP;
    case KEY_END:
        return *n > 0 ? TYPED_WHOLE : TYPED_GIVEN_UP;
    case KEY_BACKSPACE:
    case KEY_DELETE:
        *n -= *n > 0;
        return TYPED_MORE;
    case KEY_KILL:
        *n = 0;
        return TYPED_MORE;
    default:
        break;
    }
    if (*n == max)
        return TYPED_TOO_MUCH;
    room[(*n)++] = key;
    return TYPED_MORE;
}

static enum typed read_keys(char *room, size_t max, size_t *n)
{
    enum typed typed = TYPED_MORE;
    char key;

    *n = 0;
    while (typed == TYPED_MORE) {
        ssize_t got = read(STDIN_FILENO, &key, 1);
        if (got < 0 && errno == EINTR)
            continue;
        typed = got == 1 ? take_key(room, max, n, key) : TYPED_GIVEN_UP;
    }
    return typed;
}

static bool judge(enum typed typed, size_t n, size_t max, struct error *err)
{
    if (typed == TYPED_TOO_MUCH)
        return error_set(err, ERROR_INPUT, "more than %zu characters were typed", max);
    if (typed != TYPED_WHOLE || n == 0)
        return error_set(err, ERROR_INPUT, "no secret was typed: nothing was done");
    return true;
}

static bool ask(struct secret *secret, const char *prompt, size_t max, struct error *err)
{
    CLEANUP(secret_release) struct secret room = SECRET_INIT;
    struct termios before;
    size_t n;

    if (!secret_allocate(&room, max, err))
        return false;
    if (!hush(&before))
        return error_errno(err, ERROR_INPUT, "cannot turn off the terminal's echo");
    print_prompt(prompt);
    enum typed typed = read_keys(room.bytes, max, &n);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    print_prompt("\n");
    if (!judge(typed, n, max, err))
        return false;
    room.bytes[n] = '\0';
    room.len = n;
    *secret = room;
    room = SECRET_INIT;
    return true;
}

bool secret_ask(struct secret *secret, const char *path, const char *prompt, size_t max,
                struct error *err)
{
    if (strcmp(path, "-") == 0 && isatty(STDIN_FILENO))
        return ask(secret, prompt, max, err);
    return secret_read_file(secret, path, max, err);
}
