#include "tests/simulate/klaviyo.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"
#include "tests/simulate/database.h"
#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/people.h"
#include "tests/simulate/trace.h"

enum {
    EXCHANGES_MAX = 128,
    JOBS_MAX = 1024,
    JOB_ROWS_MAX = ROWS_PER_BATCH,
    PAGE_JOBS = 10,
    USUAL_MS = 60,
    SOON_MS = 1500,
    LATE_MS = 12 * 1000,
    BODY_MAX = 16 * 1024,
};

struct job {
    int account, list; /* -1: none is named */
    int attribute;     /* which it brings */
    int n_rows;
    int person[JOB_ROWS_MAX], value[JOB_ROWS_MAX];
    enum dislike dislike[JOB_ROWS_MAX];
    bool cancelled, ended, forgotten;
    int64_t ends_ms, longer_ms; /* so much later where the database knows of it */
    bool recorded;              /* its end */
};

struct klaviyo_profile klaviyo_profiles[ACCOUNTS][PEOPLE];

static struct {
    struct exchange exchanges[EXCHANGES_MAX];
    struct job jobs[JOBS_MAX];
    int n_jobs;
    bool stopped, refused[ACCOUNTS];
    int trouble_permille;
    int64_t away_until_ms;
} klaviyo;

void klaviyo_begin(void)
{
    for (int i = 0; i < EXCHANGES_MAX; i++) {
        free(klaviyo.exchanges[i].text);
        free(klaviyo.exchanges[i].body);
    }
    memset(&klaviyo, 0, sizeof klaviyo);
    memset(klaviyo_profiles, 0, sizeof klaviyo_profiles);
}

void klaviyo_troubles(int permille)
{
    klaviyo.trouble_permille = permille;
}

void klaviyo_is_away(int64_t ms)
{
    trace("Klaviyo is away for %d ms", (int)ms);
    klaviyo.away_until_ms = fiber_now_ms() + ms;
}

/* A key that was refused stays so: another one must be given. */
void klaviyo_refuse_key(int account, bool refuse)
{
    trace("the key of account %d is %s", account, refuse ? "refused" : "replaced");
    klaviyo.refused[account] = refuse;
}

static bool makes_trouble(void)
{
    return dice_chance(klaviyo.trouble_permille);
}

/* ---- jobs ---- */

static const char *name_of(const struct job *job, char *text)
{
    (void)snprintf(text, 16, "J%03d", (int)(job - klaviyo.jobs));
    return text;
}

static struct job *find_job(const char *name)
{
    int number = 0;

    for (const char *c = name + 1; *c; c++)
        number = number * 10 + *c - '0';
    return *name == 'J' && number < klaviyo.n_jobs ? &klaviyo.jobs[number] : NULL;
}

void klaviyo_note_over(const char *name)
{
    struct job *job = find_job(name);

    if (job)
        job->recorded = true;
}

bool klaviyo_is_over(const char *name)
{
    const struct job *job = find_job(name);

    return job && job->recorded;
}

static bool fails(const struct job *job, int row)
{
    return job->dislike[row] == FAILS_IN_JOB || job->dislike[row] == FAILS_UNNAMED;
}

static int n_failed(const struct job *job)
{
    int n = 0;

    for (int i = 0; i < job->n_rows; i++)
        n += fails(job, i);
    return n;
}

static void end_job(struct job *job)
{
    char name[16];

    job->ended = true;
    trace("job %s ends%s", name_of(job, name), job->cancelled ? ", cancelled" : "");
    for (int i = 0; i < job->n_rows && !job->cancelled; i++) {
        struct klaviyo_profile *profile = &klaviyo_profiles[job->account][job->person[i]];

        if (fails(job, i))
            continue;
        profile->known = true;
        profile->value[job->attribute] = job->value[i];
        if (job->list >= 0)
            profile->on_list[job->list] = true;
    }
}

/*
 * Mostly soon; where there is trouble, now and then later than anybody waits for. A job that
 * the database does not know of may not take that long: nobody could tell then.
 */
static void set_end(struct job *job)
{
    bool late = makes_trouble();

    job->ends_ms = fiber_now_ms() + 50 + dice(late ? LATE_MS : SOON_MS);
    if (late && dice(2))
        job->longer_ms = RETRY_BUDGET_MS / 2 + dice(LATE_MS);
}

static void end_jobs(void)
{
    char name[16];

    for (int i = 0; i < klaviyo.n_jobs; i++) {
        struct job *job = &klaviyo.jobs[i];
        int64_t longer_ms = job->longer_ms;

        if (job->ended || job->ends_ms > fiber_now_ms())
            continue;
        job->longer_ms = 0;
        if (longer_ms > 0 && database_knows_job(name_of(job, name)))
            job->ends_ms += longer_ms;
        else
            end_job(job);
    }
}

bool klaviyo_is_quiet(void)
{
    for (int i = 0; i < klaviyo.n_jobs; i++)
        if (!klaviyo.jobs[i].ended)
            return false;
    return true;
}

/* ---- answers ---- */

static void answer(struct exchange *x, int status, struct strbuf *body)
{
    x->transport = TRANSPORT_ANSWERED;
    x->status = status;
    x->body = body ? strbuf_take(body) : NULL;
    x->answers_ms = fiber_now_ms() + dice_delay_ms(USUAL_MS);
}

static void answer_text(struct exchange *x, int status, const char *text)
{
    struct strbuf body = STRBUF_INIT(BODY_MAX);

    strbuf_add_str(&body, text);
    answer(x, status, &body);
}

/* The rows of an import, out of its body. */
static void read_rows(const struct exchange *x, struct job *job)
{
    const char *list, *at = x->text;

    job->list = -1;
    while (!strstr(at, export_attributes[job->attribute]))
        job->attribute++;
    list = strstr(at, "{\"type\":\"list\",\"id\":\"L");
    if (list)
        job->list = list[22] - '0';
    for (int person; (person = person_find(at, "\"email\":\"p", &at)) >= 0; job->n_rows++) {
        const char *value = strstr(at, "\":\"v");

        assert(job->n_rows < JOB_ROWS_MAX && value);
        job->person[job->n_rows] = person;
        job->dislike[job->n_rows] = people[person].dislike;
        job->value[job->n_rows] = 0;
        for (const char *c = value + 4; *c >= '0' && *c <= '9'; c++)
            job->value[job->n_rows] = job->value[job->n_rows] * 10 + *c - '0';
    }
}

/* Points at the rows that are refused at once; false: there is none. */
static bool refuses_rows(struct exchange *x, const struct job *job)
{
    struct strbuf body = STRBUF_INIT(BODY_MAX);
    int n = 0;

    strbuf_add_str(&body, "{\"errors\":[");
    for (int i = 0; i < job->n_rows; i++)
        if (job->dislike[i] == REFUSED_AT_ONCE)
            strbuf_addf(&body,
                        "%s{\"code\":\"invalid\",\"source\":{\"pointer\":"
                        "\"/data/attributes/profiles/data/%d\"}}",
                        n++ ? "," : "", i);
    strbuf_add_str(&body, "]}");
    if (n > 0)
        answer(x, 400, &body);
    strbuf_release(&body);
    return n > 0;
}

static void add_job(struct strbuf *body, const struct job *job)
{
    char name[16], failed[16] = "null";

    if (job->ended)
        (void)snprintf(failed, sizeof failed, "%d", n_failed(job));
    strbuf_addf(body,
                "{\"type\":\"profile-bulk-import-job\",\"id\":\"%s\",\"attributes\":"
                "{\"status\":\"%s\",\"failed_count\":%s}}",
                name_of(job, name),
                !job->ended      ? "processing"
                : job->cancelled ? "cancelled"
                                 : "complete",
                failed);
}

static void answer_job(struct exchange *x, int status, const struct job *job)
{
    struct strbuf body = STRBUF_INIT(BODY_MAX);

    strbuf_add_str(&body, "{\"data\":");
    add_job(&body, job);
    strbuf_add_str(&body, "}");
    answer(x, status, &body);
}

static void take_import(struct exchange *x)
{
    struct job *job = &klaviyo.jobs[klaviyo.n_jobs];
    char name[16];

    must(klaviyo.n_jobs < JOBS_MAX, "the simulation has no room for another job");
    *job = (struct job){ .account = x->account };
    read_rows(x, job);
    if (refuses_rows(x, job))
        return;
    if (makes_trouble() && dice(3) == 0) {
        answer_text(x, dice(2) && job->n_rows > 1 ? 413 : 400,
                    "{\"errors\":[{\"code\":\"invalid\"}]}");
        return;
    }
    job->cancelled = makes_trouble() && dice(3) == 0;
    set_end(job);
    klaviyo.n_jobs++;
    trace("batch %d arrives: job %s of %d rows", (int)x->batch, name_of(job, name), job->n_rows);
    answer_job(x, 202, job);
}

static void tell_job(struct exchange *x)
{
    struct job *job = find_job(x->id);

    if (job && !job->ended && makes_trouble() && dice(8) == 0)
        job->forgotten = job->cancelled = true;
    if (job && !job->forgotten)
        answer_job(x, 200, job);
    else
        answer_text(x, 404, "{\"errors\":[{\"code\":\"not_found\"}]}");
}

static void list_jobs(struct exchange *x)
{
    struct strbuf body = STRBUF_INIT(BODY_MAX);
    int n = 0;

    strbuf_add_str(&body, "{\"data\":[");
    for (int i = klaviyo.n_jobs - 1; i >= 0 && n < PAGE_JOBS; i--) {
        if (klaviyo.jobs[i].account != x->account || klaviyo.jobs[i].forgotten)
            continue;
        strbuf_add_str(&body, n++ ? "," : "");
        add_job(&body, &klaviyo.jobs[i]);
    }
    strbuf_add_str(&body, "]}");
    answer(x, 200, &body);
}

static void tell_errors(struct exchange *x)
{
    const struct job *job = find_job(x->id);
    struct strbuf body = STRBUF_INIT(BODY_MAX);
    int n = 0;

    strbuf_add_str(&body, "{\"data\":[");
    for (int i = 0; job && i < job->n_rows; i++)
        if (job->dislike[i] == FAILS_IN_JOB)
            strbuf_addf(&body,
                        "%s{\"attributes\":{\"code\":\"invalid\",\"source\":{\"pointer\":"
                        "\"/data/attributes/profiles/data/%d\"},\"original_payload\":"
                        "{\"email\":\"p%02d@x.example\"}}}",
                        n++ ? "," : "", i, job->person[i]);
    strbuf_add_str(&body, "],\"links\":{\"next\":null}}");
    answer(x, 200, &body);
}

static void look_up(struct exchange *x)
{
    struct strbuf body = STRBUF_INIT(BODY_MAX);
    const char *at = x->text;
    int n = 0;

    strbuf_add_str(&body, "{\"data\":[");
    for (int person; (person = person_find(at, "\"p", &at)) >= 0;)
        if (klaviyo_profiles[x->account][person].known)
            strbuf_addf(&body,
                        "%s{\"type\":\"profile\",\"id\":\"ID%02d\",\"attributes\":"
                        "{\"email\":\"p%02d@x.example\"}}",
                        n++ ? "," : "", person, person);
    strbuf_add_str(&body, "],\"links\":{\"next\":null}}");
    answer(x, 200, &body);
}

static void take_off(struct exchange *x)
{
    const char *at = x->text;

    for (int person; (person = person_find(at, "\"ID", &at)) >= 0;) {
        trace("person %d is taken off list %s", person, x->id);
        klaviyo_profiles[x->account][person].on_list[x->id[1] - '0'] = false;
    }
    answer(x, 204, NULL);
}

static void do_as_asked(struct exchange *x)
{
    switch (x->endpoint) {
    case ENDPOINT_IMPORT:
        take_import(x);
        return;
    case ENDPOINT_JOB:
        tell_job(x);
        return;
    case ENDPOINT_JOBS:
        list_jobs(x);
        return;
    case ENDPOINT_IMPORT_ERRORS:
        tell_errors(x);
        return;
    case ENDPOINT_PROFILES:
        look_up(x);
        return;
    case ENDPOINT_LIST_REMOVE:
        take_off(x);
        return;
    case ENDPOINT_LIST:
        answer_text(x, 200,
                    "{\"data\":{\"type\":\"list\",\"id\":\"L\",\"attributes\":{\"name\":\"N\"}}}");
        return;
    case ENDPOINT_LIST_SIZE:
    case ENDPOINT_LISTS:
    case ENDPOINT_LIST_PROFILES:
    case ENDPOINT_FLOWS:
    case ENDPOINT_ACCOUNTS:
    case ENDPOINT_USAGE:
    case ENDPOINT_COUNT:
        break;
    }
    must(false, "nobody asks for %s here", endpoint_name(x->endpoint));
}

/* Said without doing anything. */
static void refuse(struct exchange *x)
{
    static const int statuses[] = { 429, 429, 500, 503, 408 };

    answer_text(x, statuses[dice(5)], "{\"errors\":[{\"code\":\"throttled\"}]}");
    if (dice(2) == 0)
        x->retry_after_s = 1 + (int)dice(3);
}

static void lose_answer(struct exchange *x)
{
    free(x->body);
    x->body = NULL;
    x->transport = dice(2) ? TRANSPORT_TIMED_OUT : TRANSPORT_BROKEN;
    x->status = 0;
    if (x->transport == TRANSPORT_TIMED_OUT)
        x->answers_ms = x->started_ms + REQUEST_TIMEOUT_MS;
}

static void arrive(struct exchange *x)
{
    x->arrived = true;
    if (klaviyo.refused[x->account])
        answer_text(x, 401, "{\"errors\":[{\"code\":\"not_authenticated\"}]}");
    else if (fiber_now_ms() < klaviyo.away_until_ms || (makes_trouble() && dice(2)))
        refuse(x);
    else
        do_as_asked(x);
    if (makes_trouble())
        lose_answer(x);
    if (x->answers_ms > x->started_ms + REQUEST_TIMEOUT_MS) {
        lose_answer(x);
        x->transport = TRANSPORT_TIMED_OUT;
        x->answers_ms = x->started_ms + REQUEST_TIMEOUT_MS;
    }
    if (x->client)
        fiber_wake(x->client);
    else
        klaviyo_drop(x);
}

/* ---- exchanges ---- */

struct exchange *klaviyo_exchange(int i)
{
    return i < EXCHANGES_MAX ? &klaviyo.exchanges[i] : NULL;
}

void klaviyo_drop(struct exchange *exchange)
{
    free(exchange->text);
    free(exchange->body);
    *exchange = (struct exchange){ .used = false };
}

struct exchange *klaviyo_send(const struct exchange *exchange)
{
    int place = 0;

    while (place < EXCHANGES_MAX && klaviyo.exchanges[place].used)
        place++;
    must(place < EXCHANGES_MAX, "the simulation has no room for another request");
    struct exchange *x = &klaviyo.exchanges[place];

    *x = *exchange;
    x->used = true;
    x->started_ms = fiber_now_ms();
    x->arrives_ms = fiber_now_ms() + dice_delay_ms(USUAL_MS / 2);
    x->transport = TRANSPORT_TIMED_OUT;
    x->answers_ms = x->started_ms + REQUEST_TIMEOUT_MS;
    if (x->arrives_ms >= x->answers_ms)
        x->arrives_ms = x->answers_ms - 1;
    fiber_wake(&klaviyo);
    return x;
}

/* ---- its time ---- */

static int64_t next_ms(void)
{
    int64_t next = FIBER_NEVER;

    for (int i = 0; i < EXCHANGES_MAX; i++) {
        const struct exchange *x = &klaviyo.exchanges[i];

        if (x->used && !x->arrived && x->arrives_ms < next)
            next = x->arrives_ms;
    }
    for (int i = 0; i < klaviyo.n_jobs; i++)
        if (!klaviyo.jobs[i].ended && klaviyo.jobs[i].ends_ms < next)
            next = klaviyo.jobs[i].ends_ms;
    return next;
}

void klaviyo_stop(void)
{
    klaviyo.stopped = true;
    fiber_wake(&klaviyo);
}

void *klaviyo_run(void *unused)
{
    const void *key = &klaviyo;

    while (!klaviyo.stopped) {
        fiber_wait(&key, 1, next_ms());
        for (int i = 0; i < EXCHANGES_MAX; i++) {
            struct exchange *x = &klaviyo.exchanges[i];

            if (x->used && !x->arrived && x->arrives_ms <= fiber_now_ms())
                arrive(x);
        }
        end_jobs();
    }
    return unused;
}
