#include <assert.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/process.h"

enum { FIBERS_MAX = 96, STACK_BYTES = 1024 * 1024, START_MS = 1000 * 1000 };

struct fiber {
    ucontext_t beginning;
    jmp_buf context;
    bool begun;
    char *stack; /* kept for the next fiber in this place */
    struct process *process;
    void *(*run)(void *);
    void *argument;
    int64_t slept_ms, wake_ms;
    const void *keys[FIBER_KEYS_MAX];
    size_t n_keys;
    bool alive, travels;
};

/* AddressSanitizer is told on which stack the program is. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#define BEFORE_SWITCH __sanitizer_start_switch_fiber
#define AFTER_SWITCH __sanitizer_finish_switch_fiber
#else
#define BEFORE_SWITCH(kept, stack, bytes) ((void)(kept), (void)(stack), (void)(bytes))
#define AFTER_SWITCH(kept, stack, bytes) ((void)(kept), (void)(stack), (void)(bytes))
#endif

static struct fiber fibers[FIBERS_MAX];
static size_t n_fibers;
static struct fiber *running;  /* NULL: the scheduler */
static jmp_buf scheduler;      /* jumps cost no call of the system, as contexts do */
static const void *main_stack; /* the scheduler's */
static size_t main_bytes;
static int64_t now_ms, steps;
static bool abandoned;

void fibers_begin(void)
{
    for (size_t i = 0; i < n_fibers; i++)
        fibers[i].alive = false;
    n_fibers = 0;
    running = NULL;
    now_ms = START_MS;
    steps = 0;
    abandoned = false;
}

const struct fiber *fiber_self(void)
{
    return running;
}

struct process *fiber_process(void)
{
    return running ? running->process : NULL;
}

int64_t fiber_now_ms(void)
{
    return now_ms;
}

int64_t fiber_steps(void)
{
    return steps;
}

static void enter(void)
{
    AFTER_SWITCH(NULL, &main_stack, &main_bytes);
    (void)running->run(running->argument);
    running->alive = false;
    fiber_wake(running);
    BEFORE_SWITCH(NULL, main_stack, main_bytes);
    _longjmp(scheduler, 1);
}

static struct fiber *free_place(void)
{
    for (size_t i = 0; i < n_fibers; i++)
        if (!fibers[i].alive)
            return &fibers[i];
    assert(n_fibers < FIBERS_MAX);
    return &fibers[n_fibers++];
}

size_t fiber_start(struct process *process, void *(*run)(void *), void *argument)
{
    struct fiber *f = free_place();
    char *stack = f->stack ? f->stack : malloc(STACK_BYTES);

    assert(stack);
    memset(f, 0, sizeof *f);
    *f = (struct fiber){ .stack = stack,
                         .process = process,
                         .run = run,
                         .argument = argument,
                         .slept_ms = now_ms,
                         .wake_ms = now_ms,
                         .alive = true };
    (void)getcontext(&f->beginning);
    f->beginning.uc_stack.ss_sp = stack;
    f->beginning.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->beginning, enter, 0);
    return (size_t)(f - fibers);
}

void fiber_join(size_t number)
{
    const void *key = &fibers[number];

    while (fibers[number].alive)
        fiber_wait(&key, 1, FIBER_NEVER);
}

static void leave(void)
{
    struct fiber *self = running;
    void *kept = NULL;

    self->slept_ms = now_ms;
    BEFORE_SWITCH(&kept, main_stack, main_bytes);
    if (_setjmp(self->context) == 0)
        _longjmp(scheduler, 1);
    AFTER_SWITCH(kept, &main_stack, &main_bytes);
}

void fiber_wait(const void *const *keys, size_t n, int64_t until_ms)
{
    assert(running && n <= FIBER_KEYS_MAX);
    for (size_t i = 0; i < n; i++)
        running->keys[i] = keys[i];
    running->n_keys = n;
    running->wake_ms = until_ms;
    leave();
    running->n_keys = 0;
}

void fiber_sleep(int64_t ms)
{
    fiber_wait(NULL, 0, now_ms + ms);
}

void fiber_travel(int64_t ms)
{
    struct fiber *self = running;

    self->travels = true;
    fiber_sleep(ms);
    self->travels = false;
}

void fiber_wake(const void *key)
{
    for (size_t i = 0; i < n_fibers; i++)
        for (size_t k = 0; k < fibers[i].n_keys; k++)
            if (fibers[i].keys[k] == key && fibers[i].wake_ms > now_ms)
                fibers[i].wake_ms = now_ms;
}

/* When it may go on. */
static int64_t due_ms(const struct fiber *f)
{
    if (!f->process || f->travels)
        return f->wake_ms;
    if (f->process->dead) /* a little later, so that those whom it waits for come before it */
        return f->wake_ms <= f->slept_ms ? f->wake_ms : f->slept_ms + 1;
    return f->wake_ms < f->process->frozen_until_ms ? f->process->frozen_until_ms : f->wake_ms;
}

static struct fiber *choose(void)
{
    struct fiber *chosen = NULL;
    int64_t earliest = FIBER_NEVER, n_equal = 0;

    for (size_t i = 0; i < n_fibers; i++) {
        int64_t due = fibers[i].alive ? due_ms(&fibers[i]) : FIBER_NEVER;

        if (due < now_ms)
            due = now_ms;
        if (due > earliest || due == FIBER_NEVER)
            continue;
        n_equal = due < earliest ? 1 : n_equal + 1;
        if (n_equal == 1 || dice(n_equal) == 0)
            chosen = &fibers[i];
        earliest = due;
    }
    if (chosen)
        now_ms = earliest;
    return chosen;
}

static void resume(void)
{
    void *kept = NULL;

    BEFORE_SWITCH(&kept, running->stack, STACK_BYTES);
    if (_setjmp(scheduler) == 0) {
        if (running->begun)
            _longjmp(running->context, 1);
        running->begun = true;
        (void)setcontext(&running->beginning);
    }
    AFTER_SWITCH(kept, NULL, NULL);
}

bool fibers_run(void)
{
    while (!abandoned && (running = choose())) {
        steps++;
        resume();
    }
    running = NULL;
    return !abandoned;
}

void fibers_abandon(void)
{
    abandoned = true;
    BEFORE_SWITCH(NULL, main_stack, main_bytes);
    _longjmp(scheduler, 1);
}
