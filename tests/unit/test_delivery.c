#include "test_delivery_world.h"

/*
 * What a delivery does, as a table: facts in, a diary of effects out.
 *
 *     fetch send:import:1 | 202 | sent:1 | +1000 | send:job:1 | complete | confirm:1(4) done
 *
 * Diary and facts take turns, parted by bars; the plan stands before the first
 * one. Bodies that are loaded are not in the diary.
 *
 * Facts:
 *     +MS  time passes        plan:ROWS  one batch more      end  the plan has ended
 *     plan:ROWS!  the same, and an earlier owner of the run began an import of it
 *     lease:MS  imports are allowed for so long              drain
 *     guards:wait, guards:pass  have they judged? Else: they have
 *     ask  what the account's plan allows; ask!  and nothing goes before it is answered
 *     no-permit  for the next request
 *     wait?  whether it waits, as people are told; why?  and in which words
 *     trouble?  what its failure would be told to be, were its budget used up now
 *     refused?  the batches of which there is surely no job, though imports were begun
 *     late:N[!]  a job that an earlier run left behind (!: it was waited for before)
 *     [TARGET=]RESPONSE, TARGET: import:ID, job:ID, errors:ID, jobs, list; else the oldest
 *
 * Responses:
 *     202[:empty]  same-job  another  queued  complete[:FAILED]  cancelled  list  errors:ITEMS[+]
 * jobs:ID=STATUS,… NNN[:ITEMS][/RETRY-AFTER|/date]  NNN:html  timeout  broken  unreachable  cut
 * garbage ITEMS, parted by commas: N (position), @N (address of the row), ? (names nobody).
 */

/* The number that the text begins with. */
static int number(const char *text)
{
    int n = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        n = n * 10 + (*text - '0');
    return n;
}

static void add_items(char *body, const char *items, bool import_errors, const char *detail)
{
    char copy[128], *rest = copy;

    (void)snprintf(copy, sizeof copy, "%s", items);
    for (char *item = strtok_r(copy, ",+", &rest); item; item = strtok_r(NULL, ",+", &rest)) {
        if (body[strlen(body) - 1] == '}')
            body_add(body, ",");
        body_add(body, import_errors ? "{\"type\":\"import-error\",\"attributes\":{" : "{");
        body_add(body, "\"code\":\"invalid\",\"detail\":\"%s\"", detail);
        if (*item == '@')
            body_add(body, ",\"original_payload\":{\"email\":\"R%04d@x.example\"}",
                     number(item + 1));
        else if (*item != '?')
            body_add(body, ",\"source\":{\"pointer\":\"/data/attributes/profiles/data/%s\"}", item);
        body_add(body, import_errors ? "}}" : "}");
    }
}

/* The oldest request in flight of that endpoint and batch; batch 0: any. */
static struct pending_request *find_in_flight(const struct world *w, enum endpoint endpoint,
                                              int64_t batch)
{
    for (size_t i = 0; i < w->n_in_flight; i++) {
        const struct pending_request *p = w->in_flight[i];

        if (p->endpoint == endpoint &&
            (batch == 0 || (p->import && p->import->batch.batch_id == batch)))
            return w->in_flight[i];
    }
    return NULL;
}

static void add_listing(struct world *w, char *body, const char *jobs)
{
    char copy[256], *rest = copy;

    (void)snprintf(copy, sizeof copy, "%s", jobs);
    body_add(body, "{\"data\":[");
    for (char *job = strtok_r(copy, ",", &rest); job; job = strtok_r(NULL, ",", &rest)) {
        char *status = strchr(job, '=');
        char id[16];

        *status++ = '\0';
        if (*job == '-')
            (void)snprintf(id, sizeof id, "L%s", job + 1);
        else
            (void)snprintf(id, sizeof id, "%s", w->batches[number(job)].job);
        body_add_job(body, id, status, "0");
        if (!find_in_flight(w, ENDPOINT_JOB, number(job)))
            world_job_told(w, id, status, "0");
        if (*rest)
            body_add(body, ",");
    }
    body_add(body, "]}");
}

static void add_job(struct world *w, char *body, const char *id, const char *word)
{
    char status[32];
    const char *failed = strchr(word, ':');

    (void)snprintf(status, sizeof status, "%.*s", (int)strcspn(word, ":"), word);
    body_add(body, "{\"data\":");
    body_add_job(body, id, status, failed ? failed + 1 : "0");
    body_add(body, "}");
    if (!failed || !strpbrk(failed, "\".-")) /* else it is malformed */
        world_job_told(w, id, status, failed ? failed + 1 : "0");
}

static void number_response(char *body, const char *word, const char *detail,
                            struct world_response *response)
{
    const char *items = strchr(word, ':');
    const char *retry_after = strchr(word, '/');

    response->status = number(word);
    response->retry_after = retry_after ? retry_after + 1 : NULL;
    if (retry_after && strcmp(retry_after, "/date") == 0)
        response->retry_after =
            "Tue, 24 Nov 2026 08:01:06 GMT"; /* 20 s from now: up to a whole second */
    if (items && strcmp(items, ":html") == 0) {
        response->content_type = "text/html";
        body_add(body, "<html>");
    } else if (items && strcmp(items, ":empty") == 0) {
        body_add(body, "{}");
    } else {
        body_add(body, "{\"errors\":[");
        add_items(body, items ? items + 1 : "?", false, detail);
        body_add(body, "]}");
    }
}

static bool broken_response(const char *word, struct world_response *response)
{
    static const struct {
        const char *word;
        enum transport transport;
        int status;
    } words[] = {
        { "timeout", TRANSPORT_TIMED_OUT, 0 },       { "broken", TRANSPORT_BROKEN, 0 },
        { "unreachable", TRANSPORT_UNREACHABLE, 0 }, { "cut", TRANSPORT_BROKEN, 200 },
        { "oversize", TRANSPORT_OVERSIZE, 200 },
    };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(word, words[i].word) == 0) {
            response->transport = words[i].transport;
            response->status = words[i].status;
            return true;
        }
    return false;
}

static void make_body(struct world *w, const struct pending_request *pending, const char *word,
                      const char *detail, char *body, struct world_response *response)
{
    char id[16] = "J0";

    if (pending->endpoint == ENDPOINT_IMPORT)
        (void)snprintf(id, sizeof id, "J%d", ++w->n_jobs);
    else if (pending->import)
        (void)snprintf(id, sizeof id, "%s", pending->import->batch.job_id);
    if (strncmp(word, "errors:", 7) == 0) {
        body_add(body, "{\"data\":[");
        add_items(body, word + 7, true, detail);
        body_add(body, "],\"links\":{\"next\":%s}}",
                 strchr(word, '+') ? "\"https://a.klaviyo.com/x?page=2\"" : "null");
    } else if (strncmp(word, "jobs:", 5) == 0) {
        add_listing(w, body, word + 5);
    } else if (strcmp(word, "list") == 0) {
        body_add(body, "{\"data\":{\"type\":\"list\",\"id\":\"L1\",\"attributes\":"
                       "{\"name\":\"News\"}}}");
    } else if (strcmp(word, "garbage") == 0) {
        body_add(body, "{\"data\":[{}");
    } else if (strcmp(word, "another") == 0) {
        add_job(w, body, "J77", "complete");
    } else if (strcmp(word, "same-job") == 0) {
        response->status = 202;
        add_job(w, body, w->batches[1].job, "queued");
    } else if (strcmp(word, "202") == 0) {
        response->status = 202;
        add_job(w, body, id, "queued");
    } else if (*word >= '0' && *word <= '9') {
        number_response(body, word, detail, response);
    } else if (!broken_response(word, response)) {
        add_job(w, body, id, word);
    }
}

static struct pending_request *target_of(const struct world *w, const char **word)
{
    static const struct {
        const char *name;
        enum endpoint endpoint;
    } targets[] = { { "import:", ENDPOINT_IMPORT },
                    { "job:", ENDPOINT_JOB },
                    { "errors:", ENDPOINT_IMPORT_ERRORS },
                    { "jobs=", ENDPOINT_JOBS },
                    { "list=", ENDPOINT_LIST } };
    const char *equals = strchr(*word, '=');

    for (size_t i = 0; equals && i < sizeof targets / sizeof targets[0]; i++) {
        size_t n = strlen(targets[i].name);

        if (strncmp(*word, targets[i].name, n) != 0)
            continue;
        int64_t batch = targets[i].name[n - 1] == ':' ? number(*word + n) : 0;
        *word = equals + 1;
        return find_in_flight(w, targets[i].endpoint, batch);
    }
    return w->n_in_flight ? w->in_flight[0] : NULL;
}

static void respond(struct world *w, const char *word, const char *detail)
{
    char body[WORLD_BODY_BYTES] = "";
    struct world_response response = { .transport = TRANSPORT_ANSWERED, .status = 200 };
    struct pending_request *pending = target_of(w, &word);

    if (!pending) {
        fail_msg("nothing in flight is answered by %s; diary: %s", word,
                 w->diary.len ? w->diary.data : "");
        return; /* not reached: for who does not know */
    }
    make_body(w, pending, word, detail, body, &response);
    response.body = body;
    world_respond(w, pending, &response);
}

/* waits:REASON:MS:park:MS */
static void note_wait(struct world *w)
{
    unsigned attempts = 0;
    struct delivery_wait wait = delivery_wait(&w->delivery, w->now_ms);
    int64_t park_ms = delivery_park_ms(&w->delivery, w->now_ms, &attempts);

    if (wait.kind == WAIT_NONE)
        world_note(w, "goes-on");
    else
        world_note(w, "waits:%s:%d:park:%d", run_reason_name(wait_reason(wait.kind)),
                   wait.until_ms ? (int)(wait.until_ms - w->now_ms) : 0, (int)park_ms);
}

/* With hyphens for blanks. */
static void note_words(struct world *w, const char *text)
{
    char words[256];

    (void)snprintf(words, sizeof words, "%s", text);
    for (char *c = words; *c; c++)
        if (*c == ' ')
            *c = '-';
    world_note(w, "%s", words);
}

/* The words that people are told. */
static void note_why(struct world *w)
{
    struct delivery_wait wait = delivery_wait(&w->delivery, w->now_ms);

    note_words(w, wait.kind == WAIT_NONE ? "goes-on" : wait.why);
}

static void note_trouble(struct world *w)
{
    const char *trouble = w->delivery.availability.trouble;

    note_words(w, *trouble ? trouble : "no-trouble");
}

static void note_refused(struct world *w)
{
    for (size_t i = 0; i < w->delivery.imports.n; i++)
        if (w->delivery.imports.import[i]->refused)
            world_note(w, "no-job:%d", (int)w->delivery.imports.import[i]->batch.batch_id);
}

static void plan_batch(struct world *w, const char *rows)
{
    world_plan(w, number(rows));
    w->batches[w->n_batches].posted = strchr(rows, '!') != NULL;
}

/* True: it was one of these, which look and change nothing. */
static bool play_question(struct world *w, const char *fact)
{
    static const struct {
        const char *fact;
        void (*note)(struct world *w);
    } questions[] = { { "wait?", note_wait },
                      { "why?", note_why },
                      { "trouble?", note_trouble },
                      { "refused?", note_refused } };

    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++)
        if (strcmp(fact, questions[i].fact) == 0) {
            questions[i].note(w);
            return true;
        }
    return false;
}

static void play_fact(struct world *w, const char *fact, const char *detail)
{
    if (play_question(w, fact))
        return;
    if (*fact == '+')
        w->now_ms += number(fact + 1);
    else if (strncmp(fact, "plan:", 5) == 0)
        plan_batch(w, fact + 5);
    else if (strncmp(fact, "late:", 5) == 0)
        world_adopt_late_job(w, number(fact + 5), strchr(fact, '!') != NULL);
    else if (strcmp(fact, "end") == 0)
        w->plan_done = true;
    else if (strncmp(fact, "lease:", 6) == 0)
        delivery_allow_imports(&w->delivery, w->now_ms + number(fact + 6));
    else if (strncmp(fact, "guards:", 7) == 0)
        w->undecided = strcmp(fact, "guards:wait") == 0;
    else if (strcmp(fact, "ask") == 0 || strcmp(fact, "ask!") == 0)
        delivery_ask(&w->delivery,
                     &(struct guards_questions){ .plan = true, .plan_needed = fact[3] == '!' });
    else if (strcmp(fact, "drain") == 0)
        delivery_drain(&w->delivery);
    else if (strcmp(fact, "no-permit") == 0)
        w->no_permit = true;
    else
        respond(w, fact, detail);
}

/* Facts and diary take turns: the diary's part of the script, or what was seen of it. */
static void play(struct world *w, const char *script, const char *detail, struct strbuf *wanted,
                 struct strbuf *seen)
{
    char copy[2048], *bars = copy, *rest;
    bool facts = true;

    (void)snprintf(copy, sizeof copy, "%s", script);
    for (char *part = strsep(&bars, "|"); part; part = strsep(&bars, "|"), facts = !facts) {
        if (!facts) {
            strbuf_addf(seen, " | %s", w->diary.len ? w->diary.data : "");
            strbuf_rewind(&w->diary, 0);
            strbuf_addf(wanted, " |");
        }
        for (char *word = strtok_r(part, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
            if (facts && (*word == '+' || strchr("=?", word[strlen(word) - 1]) ||
                          strchr(word, '='))) /* of several facts */
                world_settle(w);
            if (facts)
                play_fact(w, word, detail);
            else
                strbuf_addf(wanted, " %s", word);
        }
        if (facts) {
            world_plan_news(w);
            world_settle(w);
        }
        if (!facts && wanted->data[wanted->len - 1] == '|')
            strbuf_addf(wanted, " ");
    }
}

struct script {
    const char *sentence;
    const char *script;
};

/* How many of its diaries differ: 0 or 1. */
static int check_script(const struct script *s, const char *detail, bool list_known)
{
    CLEANUP(strbuf_release) struct strbuf seen = STRBUF_INIT(4096);
    CLEANUP(strbuf_release) struct strbuf wanted = STRBUF_INIT(4096);
    static struct world w;

    world_init(&w, list_known);
    play(&w, s->script, detail, &wanted, &seen);
    world_release(&w);
    if (strcmp(seen.data, wanted.data) == 0)
        return 0;
    print_error("%s\n    wanted%s\n    seen  %s\n", s->sentence, wanted.data, seen.data);
    return 1;
}

#define POSTED "plan:4 end | fetch send:import:1 | "
#define ACCEPTED POSTED "202 | sent:1 | +1000 | send:job:1 | "

/* Each row of "what an answer means", in its order. */
static const struct script meanings[] = {
    { "202 and a job: it is remembered, polled until it ends, then all pages of errors are read",
      ACCEPTED "queued | | +1500 | send:job:1 | complete:2 | send:errors:1 | errors:0+ |"
               " send:errors:1 | errors:@2 | confirm:1(2-2) done" },
    { "a job without failures is confirmed at once", ACCEPTED "complete | confirm:1(4) done" },
    { "400 with pointers: those rows are rejected, the rest is sent again, while it helps",
      POSTED "400:1,3 | split:1(2,0,2) fetch send:import:2 | 400:0 |"
             " split:2(1,0,1) fetch send:import:3 | 202 | sent:3 | +1000 | send:job:3 |"
             " complete | confirm:3(1) done" },
    { "400 that names every row ends the batch", POSTED "400:0,1,2,3 | split:1(0,0,4) fetch done" },
    { "a batch refused as a whole asks for the list once",
      POSTED "400:? | send:list | list +100 | send:import:1 | 400:? | split:1(2,2,0) fetch"
             " send:import:2 send:import:3 | 400:? | split:2(1,1,0) fetch send:import:4"
             " send:import:5 | 400:? | split:3(1,1,0) fetch send:import:6 send:import:7" },
    { "where the list is gone the run fails and no row is rejected",
      POSTED "400:? | send:list | 404 | fail:list_gone" },
    { "a row that is alone and refused is rejected",
      "plan:1 end | fetch send:import:1 | 400:? | send:list | list +100 | send:import:1 | 400:? |"
      " split:1(0,0,1) fetch done" },
    { "400 that names rows and none: the list, then the named ones go", POSTED
      "400:1,? | send:list | list +100 | send:import:1 | 400:1,? | split:1(3,0,1) fetch send:import:2" },
    { "401: once more after 10 s, then the key is refused and nothing rejected",
      POSTED "401 | | +9999 | | +1 | send:import:1 | 401 | fail:key_refused!" },
    { "403 in JSON: the same", POSTED "403 | | +10000 | send:import:1 | 403 | fail:key_refused!" },
    { "401 from the job", ACCEPTED "401 | | +10000 | send:job:1 | 401 | fail:key_refused!" },
    { "401 from the list",
      POSTED "400:? | send:list | 401 | | +10000 | send:list | 401 | fail:key_refused!" },
    { "a key that is accepted the second time is none that was refused",
      POSTED "401 | | +10000 | send:import:1 | 202 | sent:1 | +1000 | send:job:1 | 401 | |"
             " +10000 | send:job:1 | complete | confirm:1(4) done" },
    { "403 with HTML: try again", POSTED "403:html | | +499 | | +1 | send:import:1" },
    { "408: try again", POSTED "408 | | +500 | send:import:1" },
    { "425: try again", POSTED "425 | | +500 | send:import:1" },
    { "429: never before Retry-After, for all of the account",
      POSTED "429/30 | block:import:30000 | +29999 | | +1 | send:import:1" },
    { "429 without Retry-After: a second",
      POSTED "429 | block:import:1000 | +1000 | send:import:1" },
    { "429 with a date", POSTED "429/date | block:import:20000 | +20000 | send:import:1" },
    { "503 with Retry-After", POSTED "503/5 | block:import:5000 | +4999 | | +1 | send:import:1" },
    { "5xx: try again, with a growing pause",
      POSTED "500 | | +500 | send:import:1 | 502 | | +999 | | +1 | send:import:1 | 599 | |"
             " +2000 | send:import:1" },
    { "a time-out: sent again", POSTED "timeout | | +500 | send:import:1" },
    { "a broken connection: sent again", POSTED "broken | | +500 | send:import:1" },
    { "no connection: sent again", POSTED "unreachable | | +500 | send:import:1" },
    { "a truncated response: again", ACCEPTED "cut | | +500 | send:job:1" },
    { "a malformed job: again", ACCEPTED "garbage | | +500 | send:job:1" },
    { "202 without a job: again", POSTED "202:empty | | +500 | send:import:1" },
    { "a malformed page of errors: again",
      ACCEPTED "complete:1 | send:errors:1 | garbage | | +500 | send:errors:1 | errors:0 |"
               " confirm:1(3-1) done" },
    { "a malformed list: again",
      POSTED "400:? | send:list | garbage | | +500 | send:list | list +100 | send:import:1" },
    { "413: the batch is halved", POSTED "413 | split:1(2,2,0) fetch send:import:2 send:import:3" },
    { "413 for a row that is alone: it is rejected",
      "plan:1 end | fetch send:import:1 | 413 | split:1(0,0,1) fetch done" },
    { "fewer errors than counted: as many as cannot be named are rejected, none is confirmed",
      ACCEPTED "complete:3 | send:errors:1 | errors:0 | confirm:1(1-1-2?) done" },
    { "errors that name nobody", ACCEPTED "complete:1 | send:errors:1 | errors:? |"
                                          " confirm:1(3-1?) done" },
    { "a cancelled job: its rows are sent again",
      ACCEPTED "cancelled | resend:1 | +999 | | +1 | send:import:1 | 202 | sent:1" },
    { "a job that is cancelled again and again is sent after growing pauses",
      ACCEPTED "cancelled | resend:1 | +1000 | send:import:1 | 202 +1000 | sent:1 send:job:1 |"
               " cancelled | resend:1 | +1999 | | +1 | send:import:1 | 202 +1000 |"
               " sent:1 send:job:1 | cancelled | resend:1 | +3999 | | +1 | send:import:1" },
    { "a count of failures that is none: the job is malformed, again",
      ACCEPTED "complete:\"3\" | | +500 | send:job:1 | complete:3.0 | | +1000 | send:job:1 |"
               " complete:-1 | | +2000 | send:job:1 | complete:0 | confirm:1(4) done" },
    { "no count of failures and no errors: the job is asked again, for as long as it may take",
      ACCEPTED "complete:null | send:errors:1 | errors: | | +1500 | send:job:1 | complete:null |"
               " send:errors:1 | errors: | | +2250 | send:job:1 | complete:0 | confirm:1(4) done" },
    { "and so are its errors",
      ACCEPTED "complete:null | send:errors:1 | errors: | | +1500 | send:job:1 | complete:null |"
               " send:errors:1 | errors:2 | confirm:1(3-1) done" },
    { "a job that never says what failed is given up",
      ACCEPTED "complete:null | send:errors:1 | +450000 errors: | resend:1" },
    { "a job with another's id: again",
      ACCEPTED "another | | +500 | send:job:1 | complete | confirm:1(4) done" },
    { "a job that another batch has: again",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +100 | sent:1 | same-job | |"
      " +500 | send:import:2" },
    { "an unknown job: its rows are sent again",
      ACCEPTED "404 | resend:1 | +999 | | +1 | send:import:1" },
    { "a job whose errors are unknown: its rows are sent again",
      ACCEPTED "complete:1 | send:errors:1 | 404 | resend:1 | +1000 | send:import:1" },
    { "a job that does not end in half of the budget is given up",
      ACCEPTED "queued | | +450000 | send:job:1 | queued | resend:1? | +500 | send:import:1" },
    { "422: permanent", POSTED "422 | words:invalid fail:answer_unexpected" },
    { "a redirect: permanent", POSTED "302 | words:invalid fail:answer_unexpected" },
    { "404 of the import: permanent", POSTED "404 | words:invalid fail:answer_unexpected" },
    { "400 of a job: permanent", ACCEPTED "400 | words:invalid fail:answer_unexpected" },
};

static void every_row_of_what_an_answer_means_has_its_effects(void **state)
{
    int differ = 0;

    (void)state;
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        differ += check_script(&meanings[i], "Invalid input.", true);
    assert_int_equal(differ, 0);
}

/* Only status, code and pointer count: never the words. */
static void the_words_of_a_response_change_nothing(void **state)
{
    int differ = 0;

    (void)state;
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        differ += check_script(&meanings[i], "duplicate throttled list not_found 429 retry", true);
    assert_int_equal(differ, 0);
}

static const struct script ways[] = {
    { "five imports at most are in flight, and they go at once",
      "plan:1 plan:1 plan:1 plan:1 plan:1 plan:1 end | fetch send:import:1 send:import:2"
      " send:import:3 send:import:4 send:import:5 | +1000 | | import:3=202 |"
      " sent:3 fetch send:import:6" },
    { "a batch that is planned while others go is fetched",
      "plan:1 | fetch send:import:1 | 202 | sent:1 | plan:1 | fetch send:import:2 | end |"
      " | 202 | sent:2 | +1000 | send:jobs | jobs:1=complete,2=complete |"
      " confirm:1(1) confirm:2(1) done" },
    { "two polls are answered by one listing; whose job is not on it is polled alone",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +100 | sent:1 | 202 | sent:2 |"
      " +1000 | send:jobs | jobs:1=queued | send:job:2" },
    { "a job that a listing shows before its first poll is due is polled no later for it",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +900 | sent:1 | 202 | sent:2 |"
      " +100 | send:jobs | jobs:1=queued,2=queued +899 | | +1 | send:jobs |"
      " jobs:1=queued,2=queued | | +1499 | | +1 | send:jobs" },
    { "what a listing shows before is heard",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +900 | sent:1 | 202 | sent:2 |"
      " +100 | send:jobs | jobs:1=queued,2=complete | confirm:2(1)" },
    { "its later polls become no rarer because others are looked at",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +600 | sent:1 | 202 | sent:2 |"
      " +400 | send:jobs | jobs:1=queued,2=queued +600 | send:jobs |"
      " jobs:1=queued,2=complete | confirm:2(1) | +1499 | | +1 | send:job:1" },
    { "where polls of its own failed, a listing that shows it ends their pause",
      "plan:1 | fetch send:import:1 | 202 +1000 | sent:1 send:job:1 | 503 +500 | send:job:1 |"
      " 503 +1000 | send:job:1 | 503 +2000 | send:job:1 | 503 | | plan:1 plan:1 end | fetch"
      " send:import:2 send:import:3 | 202 | sent:2 | 202 +1000 | sent:3 send:jobs |"
      " jobs:1=queued,2=complete,3=complete | confirm:2(1) confirm:3(1) | +999 | | +1 | send:job:1" },
    { "a job that was accepted while the listing was on its way is on the next one",
      "plan:1 plan:1 plan:1 end | fetch send:import:1 send:import:2 send:import:3 |"
      " import:1=202 import:2=202 +1000 | sent:1 sent:2 send:jobs | import:3=202 +100 | sent:3 |"
      " jobs=jobs:1=queued,2=queued +1000 | send:jobs" },
    { "polls that are due in the same tenth of a second share a listing",
      "plan:1 plan:1 plan:1 end | fetch send:import:1 send:import:2 send:import:3 | 202 +100 |"
      " sent:1 | 202 +101 | sent:2 | 202 +799 | sent:3 | +99 | | +1 | send:jobs |"
      " jobs:1=queued,2=queued,3=queued | | +399 | | +101 | send:jobs" },
    { "what a listing says of a job whose own poll is in flight is not heard",
      "plan:1 | fetch send:import:1 | 202 +1000 | sent:1 send:job:1 | plan:1 plan:1 end |"
      " fetch send:import:2 send:import:3 | import:2=202 +100 | sent:2 | import:3=202 +1000 | sent:3 send:jobs |"
      " jobs=jobs:1=complete,2=complete,3=queued | confirm:2(1) | job:1=complete | confirm:1(1)" },
    { "a listing that is not served is given up",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +100 | sent:1 | 202 | sent:2 |"
      " +1000 | send:jobs | 404 | no-listing:404 send:job:1 send:job:2" },
    { "a listing that fails is tried twice; jobs are polled one by one meanwhile",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +100 | sent:1 | 202 | sent:2 |"
      " +1000 | send:jobs | 500 | send:job:1 send:job:2 | job:1=queued job:2=queued | |"
      " +1500 | send:jobs | garbage | send:job:1 send:job:2 | job:1=queued job:2=queued | |"
      " +2250 | send:jobs | 500 | no-listing:500 send:job:1 send:job:2" },
    { "no permit: the endpoint waits as long as the limit says",
      "no-permit plan:1 end | fetch no-permit:import | +699 | | +1 | send:import:1" },
    { "no import is begun while the lease is short, what was begun goes on",
      ACCEPTED "lease:0 plan:1 | fetch | job:1=complete | confirm:1(4) | lease:1000 |"
               " send:import:2" },
    { "nothing is begun while it drains", "drain plan:1 end | fetch | +1000 |" },
    { "nothing planned: done at once", "end | fetch done" },
    { "nothing is fetched before the guards have judged",
      "guards:wait plan:1 | | +1000 | | guards:pass | fetch send:import:1" },
    { "it is not done while members are still planned",
      "plan:1 | fetch send:import:1 | 202 +1000 | sent:1 send:job:1 | complete | confirm:1(1) |"
      " +1000 | | end | done" },
    { "the pauses between two looks at a job grow to the longest one and no further",
      ACCEPTED "queued +1500 | send:job:1 | queued +2250 | send:job:1 | queued +3375 | send:job:1 |"
               " queued +5062 | send:job:1 | queued +7593 | send:job:1 | queued +11389 |"
               " send:job:1 | queued | | +14999 | | +1 | send:job:1 | queued | | +14999 | | +1 |"
               " send:job:1" },
    { "a run is not parked while a request is on its way",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | import:1=429/30 +4000 wait? |"
      " block:import:30000 waits:klaviyo_unavailable:0:park:0" },
    { "five imports at most are in flight, however many jobs came to nothing",
      "plan:1 plan:1 plan:1 plan:1 plan:1 plan:1 end | fetch send:import:1 send:import:2"
      " send:import:3 send:import:4 send:import:5 | import:1=202 | sent:1 fetch send:import:6 |"
      " import:2=202 import:3=202 import:4=202 import:5=202 import:6=202 +1000 |"
      " sent:2 fetch sent:3 sent:4 sent:5 sent:6 send:jobs |"
      " jobs:1=cancelled,2=cancelled,3=cancelled,4=cancelled,5=cancelled,6=cancelled +1000 |"
      " resend:1 resend:2 resend:3 resend:4 resend:5 resend:6 send:import:1 send:import:2"
      " send:import:3 send:import:4 send:import:5" },
    { "while Klaviyo answers it goes on",
      POSTED "wait? | goes-on | 202 | sent:1 | wait? | goes-on" },
    { "a response in vain is no outage yet; two seconds of them are",
      POSTED "503 wait? | goes-on | +500 | send:import:1 | 503 +1000 wait? |"
             " send:import:1 goes-on | 503 +500 wait? | waits:klaviyo_unavailable:1500:park:0" },
    { "a longer pause is not waited for in the slot",
      POSTED "503 +500 | send:import:1 | 503 +1000 | send:import:1 | 503 +2000 | send:import:1 |"
             " 503 wait? | waits:klaviyo_unavailable:4000:park:4000 | +4000 | send:import:1 |"
             " 202 wait? | sent:1 goes-on" },
    { "nobody answers: told after four seconds",
      POSTED "+3999 wait? | goes-on | +1 wait? | waits:klaviyo_unavailable:0:park:0" },
    { "so where Klaviyo has answered before",
      ACCEPTED "queued +1500 | send:job:1 | +3999 wait? | goes-on | +1 wait? |"
               " waits:klaviyo_unavailable:0:park:0" },
    { "a request that hung is made again after a pause, which is not waited for in the slot",
      ACCEPTED "queued +1500 | send:job:1 | +30000 timeout wait? |"
               " waits:klaviyo_unavailable:3000:park:3000 | +3000 | send:job:1" },
    { "after three seconds in vain a short pause is not, either",
      POSTED "503 +500 | send:import:1 | 503 +1000 | send:import:1 | 503 +2000 | send:import:1 |"
             " 503 +3400 wait? | waits:klaviyo_unavailable:600:park:600 | +200 wait? |"
             " waits:klaviyo_unavailable:400:park:0" },
    { "a limit is waited for, and a long one not in the slot",
      POSTED "429/30 wait? | block:import:30000 waits:rate_limited:30000:park:30000 |"
             " +28000 wait? | waits:rate_limited:2000:park:2000 | +2000 wait? |"
             " send:import:1 waits:rate_limited:0:park:0 | 202 wait? | sent:1 goes-on" },
    { "a limit that does not say for how long, too: told after two seconds, parked after three",
      POSTED "429 wait? | block:import:1000 waits:rate_limited:1000:park:0 | +1000 wait? |"
             " send:import:1 goes-on | 429 wait? | block:import:1000"
             " waits:rate_limited:1000:park:0 | +1000 wait? |"
             " send:import:1 waits:rate_limited:0:park:0 | 429 wait? |"
             " block:import:1000 waits:rate_limited:2000:park:0 | +2000 | send:import:1 |"
             " 429 wait? | block:import:1000 waits:rate_limited:4000:park:4000 |"
             " +3400 wait? | waits:rate_limited:600:park:600 | +600 | send:import:1 |"
             " 202 wait? | sent:1 goes-on" },
    { "an answer that cannot be read is in vain, and waited for in its words",
      ACCEPTED "garbage +500 | send:job:1 | garbage +1000 wait? | send:job:1 goes-on |"
               " garbage +500 wait? why? | waits:klaviyo_unavailable:1500:park:0"
               " Klaviyo's-answer-to-job-is-malformed:-it-is-not-JSON | +1500 | send:job:1 |"
               " queued wait? | goes-on" },
    { "so is one of another job",
      ACCEPTED "another trouble? |"
               " Klaviyo's-answer-to-job-is-malformed:-it-is-about-another-job" },
    { "so is the job of another batch",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +100 | sent:1 |"
      " same-job trouble? | Klaviyo's-answer-to-import-is-malformed:-it-is-the-job-of-another-batch" },
    { "so is a page of errors",
      ACCEPTED "complete:1 | send:errors:1 | garbage trouble? |"
               " Klaviyo's-answer-to-import_errors-is-malformed:-it-is-not-JSON" },
    { "so is the list that a batch waits for",
      POSTED "400:? | send:list | garbage trouble? |"
             " Klaviyo's-answer-to-list-is-malformed:-it-is-not-JSON" },
    { "so is a question that must be answered",
      "ask! guards:wait | send:usage | garbage trouble? |"
      " Klaviyo's-answer-to-usage-is-malformed:-it-does-not-say-what-was-asked" },
    { "a listing of jobs that cannot be read is no trouble",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +100 | sent:1 | 202 | sent:2 |"
      " +1000 | send:jobs | garbage trouble? | send:job:1 send:job:2 no-trouble" },
    { "nor is an earlier run's job: it is left in time",
      "late:1 plan:1 end | send:job:-1 | garbage +500 | send:job:-1 | garbage +1000 |"
      " send:job:-1 | garbage +1500 wait? trouble? | goes-on no-trouble | +448000 |"
      " leave:L1 fetch send:import:1" },
    { "what was in vain is forgotten once the run got on",
      "plan:1 | fetch send:import:1 | 503 trouble? +500 |"
      " Klaviyo-answered-503-invalid-to-import send:import:1 | 202 trouble? +1000 |"
      " sent:1 Klaviyo-answered-503-invalid-to-import send:job:1 | complete trouble? |"
      " confirm:1(1) no-trouble" },
    { "not while it still is",
      "plan:1 | fetch send:import:1 | 503 | | plan:1 | fetch send:import:2 | trouble? |"
      " Klaviyo-answered-503-invalid-to-import" },
    { "a job that is in a state nobody knows is told with Klaviyo's word for it",
      ACCEPTED "completed | | +450000 | send:job:1 | completed trouble? |"
               " resend:1? an-import-job-did-not-end-in-time:-its-status-is-completed" },
    { "where another request is due it goes on",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +100 | sent:1 | 429 |"
      " block:import:1000 | +900 wait? | send:job:1 goes-on" },
    { "what others use up, too", "no-permit plan:1 end | fetch no-permit:import | wait? |"
                                 " waits:rate_limited:700:park:0" },
    { "the listing of jobs is nothing to wait for",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +100 | sent:1 | 202 | sent:2 |"
      " +1000 | send:jobs | 503 +3000 wait? | send:job:1 send:job:2 goes-on" },
    { "nor is its limit what the run waits for",
      "plan:1 plan:1 plan:1 end | fetch send:import:1 send:import:2 send:import:3 | import:1=202"
      " import:2=202 | sent:1 sent:2 | import:3=429/30 | block:import:30000 | +1000 | send:jobs |"
      " 429/40 | block:jobs:40000 send:job:1 send:job:2 | job:1=complete job:2=complete |"
      " confirm:1(1) confirm:2(1) | why? |"
      " Klaviyo-answered-429-invalid-to-import" },
    { "an earlier run's job is waited for before anything is sent",
      "late:1 plan:1 end | send:job:-1 | queued +1500 | send:job:-1 | complete |"
      " settle:L1 fetch send:import:1" },
    { "so where it was cancelled", "late:1 plan:1 end | send:job:-1 | cancelled |"
                                   " settle:L1 fetch send:import:1" },
    { "or is unknown by now",
      "late:1 plan:1 end | send:job:-1 | 404 | settle:L1 fetch send:import:1" },
    { "what is not documented of so old a job fails no run",
      "late:1 plan:1 end | send:job:-1 | 400 | leave:L1 fetch send:import:1" },
    { "it is waited for no longer than any job",
      "late:1 plan:1 end | send:job:-1 | queued | | +450000 | leave:L1 fetch send:import:1" },
    { "one that was waited for before is looked at once",
      "late:1! plan:1 end | send:job:-1 | queued | leave:L1 fetch send:import:1" },
    { "and has the same effects where it has ended",
      "late:1! plan:1 end | send:job:-1 | complete:2 | settle:L1 fetch send:import:1" },
    { "several of them share a listing",
      "late:1 late:2! plan:1 end | send:jobs | jobs:-1=complete,-2=queued |"
      " settle:L1 leave:L2 fetch send:import:1" },
    { "an import that is accepted after a lost response may be two jobs",
      POSTED "timeout +500 | send:import:1 | 202 | sent:1? |" },
    { "so where an earlier owner of the run began one", "plan:4! end | fetch send:import:1 | 202 |"
                                                        " sent:1? |" },
    { "so after a gateway's time-out", POSTED "504 +500 | send:import:1 | 202 | sent:1? |" },
    { "not where nothing was sent, or Klaviyo refused it",
      POSTED "unreachable +500 | send:import:1 | 503 +1000 | send:import:1 | 202 | sent:1 |" },
    { "an import that was refused is no job",
      "plan:1 plan:1 plan:1 end | fetch send:import:1 send:import:2 send:import:3 |"
      " import:1=429/30 import:2=unreachable refused? | block:import:30000 no-job:1 no-job:2" },
    { "nor is one that is refused for its rows, or in an undocumented way",
      "plan:1 plan:1 plan:1 end | fetch send:import:1 send:import:2 send:import:3 |"
      " import:1=400 import:2=422 import:3=413 refused? |"
      " send:list words:invalid fail:answer_unexpected no-job:1 no-job:2 no-job:3" },
    { "unless one before it may be",
      POSTED "timeout +500 | send:import:1 | 429/30 refused? | block:import:30000" },
    { "or the next one is on its way",
      POSTED "503 refused? +500 refused? | no-job:1 send:import:1" },
    { "a question that only warns is left, and all wait until they may come back",
      "ask | send:usage fetch | 429/30 wait? | block:usage:30000 goes-on | plan:1 end |"
      " fetch send:import:1" },
    { "one that is needed is waited for",
      "ask! guards:wait | send:usage | 429/30 wait? | block:usage:30000"
      " waits:rate_limited:30000:park:30000 | +30000 | send:usage" },
    { "a listing that is given up still says when to come back",
      "plan:1 plan:1 end | fetch send:import:1 send:import:2 | 202 +100 | sent:1 | 202 | sent:2 |"
      " +1000 | send:jobs | 500 | send:job:1 send:job:2 | job:1=queued job:2=queued | |"
      " +1500 | send:jobs | garbage | send:job:1 send:job:2 | job:1=queued job:2=queued | |"
      " +2250 | send:jobs | 503/30 | block:jobs:30000 no-listing:503 send:job:1 send:job:2" },
    { "a run in which all was planned and nothing sent yet is not done",
      "plan:1 end | fetch send:import:1" },
};

static void the_ways_of_a_delivery(void **state)
{
    int differ = 0;

    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        differ += check_script(&ways[i], "Invalid input.", true);
    assert_int_equal(differ, 0);
}

/* The list is asked for its name parallel to the imports. */
static const struct script name_wanted[] = {
    { "a limit of the list alone is nothing to wait for",
      "plan:1 end | fetch send:list send:import:1 | list=429/3600 import:1=202 wait? |"
      " block:list:3600000 sent:1 goes-on | +1000 | send:job:1 | job:1=queued wait? | goes-on |"
      " +1500 | send:job:1 | job:1=complete | confirm:1(1) done" },
    { "a list that fails alone is no outage",
      "plan:1 end | fetch send:list send:import:1 | list=503 +2500 wait? | send:list goes-on" },
    { "but where a batch was refused the list is waited for",
      "plan:1 end | fetch send:list send:import:1 | import:1=400:? list=429/30 wait? |"
      " block:list:30000 waits:rate_limited:30000:park:30000 | +30000 | send:list | list +100 |"
      " name:News send:import:1" },
};

static void the_name_of_the_list_is_nothing_to_wait_for(void **state)
{
    int differ = 0;

    (void)state;
    for (size_t i = 0; i < sizeof name_wanted / sizeof name_wanted[0]; i++)
        differ += check_script(&name_wanted[i], "Invalid input.", false);
    assert_int_equal(differ, 0);
}

/* What is not documented, or comes in two ways: the effects are the same. */
static const struct {
    const char *sentence;
    const char *a, *b;
} readings[] = {
    { "a failed row is named by its position or its address", ACCEPTED "complete:1 | | errors:2 |",
      ACCEPTED "complete:1 | | errors:@2 |" },
    { "a position and an address of one row are one row", ACCEPTED "complete:1 | | errors:2,@2 |",
      ACCEPTED "complete:1 | | errors:@2 |" },
    { "the job says how many failed, or only its errors do", ACCEPTED "complete:2 | | errors:0,3 |",
      ACCEPTED "complete:null | | errors:0,3 |" },
    { "so where they name nobody", ACCEPTED "complete:1 | | errors:? |",
      ACCEPTED "complete:null | | errors:? |" },
    { "errors on one page or on two", ACCEPTED "complete:2 | | errors:0,1+ | | errors: |",
      ACCEPTED "complete:2 | | errors:0+ | | errors:1 |" },
    { "pages that repeat themselves", ACCEPTED "complete:2 | | errors:0+ | | errors:0,1 |",
      ACCEPTED "complete:2 | | errors:0+ | | errors:1 |" },
    { "a job that is over is unknown or was cancelled", ACCEPTED "404 | | +1000 |",
      ACCEPTED "cancelled | | +1000 |" },
    { "queued, processing, or a word of the future", ACCEPTED "queued | | +1500 |",
      ACCEPTED "processing | | +1500 |" },
    { "queued, or a word of the future", ACCEPTED "queued | | +1500 |",
      ACCEPTED "paused | | +1500 |" },
    { "a wait in seconds or as a date", POSTED "429/20 | | +20000 |",
      POSTED "429/date | | +20000 |" },
    { "a server error of Klaviyo or of a gateway", POSTED "503 | | +500 |",
      POSTED "503:html | | +500 |" },
    { "too large says Klaviyo or a gateway", POSTED "413 |", POSTED "413:html |" },
    { "a key without rights or without a scope", POSTED "401 | | +10000 | | 401 |",
      POSTED "403 | | +10000 | | 403 |" },
    { "a connection that breaks before or after the request", POSTED "broken | | +500 |",
      POSTED "unreachable | | +500 |" },
    { "the errors of rows in any order", POSTED "400:1,3 |", POSTED "400:3,1 |" },
    { "an error of the request before or behind those of rows",
      POSTED "400:?,1 | | list +100 | | 400:1,? |", POSTED "400:1,? | | list +100 | | 400:?,1 |" },
};

/* The diary after the first bars, which differ by nothing. */
static void see(const char *script, struct strbuf *seen)
{
    CLEANUP(strbuf_release) struct strbuf wanted = STRBUF_INIT(4096);
    static struct world w;

    world_init(&w, true);
    play(&w, script, "Invalid input.", &wanted, seen);
    world_release(&w);
}

static void both_readings_of_a_weak_fact_have_the_same_effects(void **state)
{
    int differ = 0;

    (void)state;
    for (size_t i = 0; i < sizeof readings / sizeof readings[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf a = STRBUF_INIT(4096);
        CLEANUP(strbuf_release) struct strbuf b = STRBUF_INIT(4096);

        see(readings[i].a, &a);
        see(readings[i].b, &b);
        if (strcmp(a.data, b.data) == 0)
            continue;
        print_error("%s\n    a%s\n    b%s\n", readings[i].sentence, a.data, b.data);
        differ++;
    }
    assert_int_equal(differ, 0);
}

/* Four batches in flight, answered in that order; what has become of the rows, in letters. */
static void play_order(const int *order, struct strbuf *outcome)
{
    static const char *const responses[] = { "202", "400:0,2", "500", "413" };
    static struct world w;

    world_init(&w, true);
    w.keeps_diary = false;
    for (int i = 0; i < 4; i++)
        world_plan(&w, 4);
    for (int i = 0; i < 4; i++, w.now_ms += 100) {
        world_plan_news(&w);
        world_settle(&w);
    }
    for (int i = 0; i < 4; i++) {
        char fact[32];

        (void)snprintf(fact, sizeof fact, "import:%d=%s", order[i] + 1, responses[order[i]]);
        play_fact(&w, fact, "Invalid input.");
        world_settle(&w);
    }
    world_finish(&w);
    for (int i = 0; i < w.n_rows; i++)
        strbuf_addf(outcome, "%c", "ocrl"[w.rows[i]]);
    world_release(&w);
}

static void the_order_of_facts_changes_nothing(void **state)
{
    (void)state;
    for (int n = 0; n < 4 * 4 * 4 * 4; n++) {
        int order[] = { n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6 & 3 };
        CLEANUP(strbuf_release) struct strbuf outcome = STRBUF_INIT(64);

        if ((1 << order[0] | 1 << order[1] | 1 << order[2] | 1 << order[3]) != 15)
            continue; /* no permutation */
        play_order(order, &outcome);
        assert_string_equal(outcome.data, "ccccrcrccccccccc");
    }
}

static void bodies_are_loaded_while_there_is_room(void **state)
{
    static struct world w;
    struct effect effect;
    int loaded = 0;

    (void)state;
    world_init(&w, true);
    for (int i = 0; i < 4; i++)
        world_plan(&w, 1);
    w.bytes_per_row = 5000000;
    for (int i = 0; i < 4; i++, w.now_ms += 100) {
        world_plan_news(&w);
        while (delivery_next(&w.delivery, w.now_ms, &effect)) {
            loaded += effect.kind == EFFECT_LOAD_BODY;
            world_perform(&w, &effect);
        }
    }
    assert_int_equal(loaded, 3);
    assert_int_equal(delivery_due_ms(&w.delivery, w.now_ms), REQUEST_SCHEDULE_NEVER);
    world_answer_well(&w, w.in_flight[0]); /* its body goes */
    world_settle(&w);
    assert_int_equal(w.n_in_flight, 3);
    world_release(&w);
}

/* Of four rows Klaviyo refused two when its job had ended, or one before there was a job. */
static void what_is_accepted_is_counted_without_what_was_refused(void **state)
{
    static const struct {
        const char *script;
        int64_t accepted;
    } cases[] = {
        { ACCEPTED "complete | ", 4 },
        { ACCEPTED "complete:2 | send:errors:1 | errors:0,3 | ", 2 },
        { ACCEPTED "complete:3 | send:errors:1 | errors:? | ", 1 },
        { POSTED "400:1 | split:1(3,0,1) fetch send:import:2 | 202 +1000 | sent:2 send:job:2 |"
                 " complete | ",
          3 },
    };
    static struct world w;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf seen = STRBUF_INIT(4096);
        CLEANUP(strbuf_release) struct strbuf wanted = STRBUF_INIT(4096);

        world_init(&w, true);
        play(&w, cases[i].script, "Invalid input.", &wanted, &seen);
        assert_int_equal(delivery_counts(&w.delivery).accepted, cases[i].accepted);
        world_release(&w);
    }
}

static void removals_come_last_and_are_withheld_with_a_word(void **state)
{
    static const struct removal_figures some = {
        .wanted = true, .account_known = true, .left = 1, .there = 10, .members = 9
    };
    static struct world w;

    (void)state;
    world_init(&w, true);
    w.figures = some;
    w.list_busy = true;
    world_plan(&w, 2);
    world_finish(&w);
    assert_string_equal(w.diary.data, "fetch send:import:1 sent:1 send:job:1 confirm:1(2) "
                                      "claim:busy claim release leavers done");
    world_release(&w);

    world_init(&w, true);
    w.figures = some;
    w.figures.members = 0;
    world_finish(&w);
    assert_string_equal(w.diary.data, "fetch done:removals_withheld");
    world_release(&w);
}

/* Rows are r0000@x.example, r0001@x.example, ...; the code is invalid. */
static void an_unexpected_answer_is_told_with_what_is_nobodys_of_its_words(void **state)
{
    static const struct {
        const char *script, *detail, *told;
    } cases[] = {
        { POSTED "409 | words:invalid fail:answer_unexpected", "An import of this list is running.",
          "Klaviyo answered 409 invalid to import: An import of this list is running." },
        { POSTED "409 | words:invalid fail:answer_unexpected",
          "Example of r0001@x.example: X is not allowed",
          "Klaviyo answered 409 invalid to import: *** of *** is not allowed"
          " (in full in the run's rejections)" },
        { POSTED "422 | words:invalid fail:answer_unexpected", "r0001@x.example",
          "Klaviyo answered 422 invalid to import: its words are in the run's rejections" },
        { POSTED "422 | words:invalid fail:answer_unexpected", " ",
          "Klaviyo answered 422 invalid to import: its words are in the run's rejections" },
        { POSTED "422 | fail:answer_unexpected", "", "Klaviyo answered 422 invalid to import" },
        /* The batch is not at hand any more: nobody can tell what is a value of it. */
        { ACCEPTED "400 | words:invalid fail:answer_unexpected", "Example is not allowed",
          "Klaviyo answered 400 invalid to job: its words are in the run's rejections" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf wanted = STRBUF_INIT(4000), seen = STRBUF_INIT(4000);
        static struct world w;

        world_init(&w, true);
        play(&w, cases[i].script, cases[i].detail, &wanted, &seen);
        assert_string_equal(seen.data, wanted.data);
        assert_string_equal(w.delivery.detail, cases[i].told);
        world_release(&w);
    }
}

static void the_words_of_an_unexpected_answer_are_cut(void **state)
{
    CLEANUP(strbuf_release) struct strbuf wanted = STRBUF_INIT(4000), seen = STRBUF_INIT(4000);
    static const char end[] = " (in full in the run's rejections)";
    char detail[1500] = "";
    static struct world w;

    (void)state;
    for (size_t n = 0; n < sizeof detail - 1; n++)
        detail[n] = "word "[n % 5];
    world_init(&w, true);
    play(&w, POSTED "409 | words:invalid fail:answer_unexpected", detail, &wanted, &seen);
    assert_in_range(strlen(w.delivery.detail), 1015, 1024);
    assert_string_equal(w.delivery.detail + strlen(w.delivery.detail) - strlen(end), end);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(removals_come_last_and_are_withheld_with_a_word),
        cmocka_unit_test(every_row_of_what_an_answer_means_has_its_effects),
        cmocka_unit_test(the_words_of_a_response_change_nothing),
        cmocka_unit_test(an_unexpected_answer_is_told_with_what_is_nobodys_of_its_words),
        cmocka_unit_test(the_words_of_an_unexpected_answer_are_cut),
        cmocka_unit_test(the_ways_of_a_delivery),
        cmocka_unit_test(the_name_of_the_list_is_nothing_to_wait_for),
        cmocka_unit_test(both_readings_of_a_weak_fact_have_the_same_effects),
        cmocka_unit_test(the_order_of_facts_changes_nothing),
        cmocka_unit_test(bodies_are_loaded_while_there_is_room),
        cmocka_unit_test(what_is_accepted_is_counted_without_what_was_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
