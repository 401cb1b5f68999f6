#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "tests/simulator/service.h"

#define JOBS "/api/profile-bulk-import-jobs"
#define JOB(rows)                                                                                   \
    "{\"data\":{\"type\":\"profile-bulk-import-job\",\"attributes\":{\"profiles\":{\"data\":[" rows \
    "]}},\"relationships\":{\"lists\":{\"data\":[{\"type\":\"list\",\"id\":\"L1\"}]}}}}"
#define ROW(attributes) "{\"type\":\"profile\",\"attributes\":{" attributes "}}"
#define ADA ROW("\"email\":\"ada@x.example\",\"properties\":{\"a\":1}")
#define BOB ROW("\"email\":\"bob@x.example\"")

/* A whole simulator without HTTP, and the last answer it gave. */
struct scene {
    struct world world;
    struct answer answer;
    const char *key;
};

/* path may have one parameter: "/api/lists?page[size]=1". */
static void split_target(struct request *request, char *path, const char *target)
{
    char *mark;

    (void)snprintf(path, 512, "%s", target);
    request->target = target;
    request->path = path;
    mark = strchr(path, '?');
    if (!mark)
        return;
    *mark = '\0';
    request->args[0].name = mark + 1;
    mark = strchr(mark + 1, '=');
    *mark = '\0';
    request->args[0].value = mark + 1;
    request->n_args = 1;
}

static int ask(struct scene *scene, const char *method, const char *target, const char *body)
{
    char path[512], key[128];
    struct request request = { .method = method,
                               .host = "sim",
                               .authorization = scene->key ? key : NULL,
                               .revision = "2026-07-15",
                               .content_type = "application/vnd.api+json",
                               .at_us = clock_utc_us() };

    (void)snprintf(key, sizeof key, "Klaviyo-API-Key %s", scene->key ? scene->key : "");
    split_target(&request, path, target);
    request.body = strdup(body ? body : "");
    assert_non_null(request.body);
    request.body_n = strlen(request.body);
    request.total_n = request.body_n;
    answer_release(&scene->answer);
    answer_init(&scene->answer);
    service_answer(&scene->world, &request, &scene->answer);
    free(request.body);
    return scene->answer.reset ? 0 : scene->answer.status;
}

static bool says(const struct scene *scene, const char *text)
{
    return scene->answer.body.data && strstr(scene->answer.body.data, text);
}

/* The text between the first `from` and the next quote; lent until the next call. */
static const char *text_behind(const struct scene *scene, const char *from)
{
    static char text[256];
    const char *at = strstr(scene->answer.body.data, from);

    assert_non_null(at);
    at += strlen(from);
    (void)snprintf(text, sizeof text, "%.*s", (int)strcspn(at, "\""), at);
    return text;
}

static const char *header(const struct scene *scene, const char *name)
{
    for (size_t i = 0; i < scene->answer.n_headers; i++)
        if (strcmp(scene->answer.headers[i].name, name) == 0)
            return scene->answer.headers[i].value;
    return NULL;
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);

    assert_non_null(scene);
    world_init(&scene->world, 1000);
    answer_init(&scene->answer);
    scene->key = "pk_1";
    assert_int_equal(ask(scene, "PUT", "/control/accounts/ACC001", "{}"), 204);
    assert_int_equal(ask(scene, "PUT", "/control/keys/pk_1", "{}"), 204);
    assert_int_equal(ask(scene, "PUT", "/control/lists/L1", "{\"name\":\"One\"}"), 204);
    assert_int_equal(
        ask(scene, "PUT", "/control/settings", "{\"queued_ms\":0,\"processing_ms\":0}"), 200);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;

    answer_release(&scene->answer);
    world_release(&scene->world);
    free(scene);
    return 0;
}

/* What follows the path of the job of the last import. */
static int ask_job(struct scene *scene, const char *job, const char *rest)
{
    char target[512];

    (void)snprintf(target, sizeof target, JOBS "/%s%s", job, rest);
    return ask(scene, "GET", target, NULL);
}

static void import(struct scene *scene, char *job, const char *body)
{
    assert_int_equal(ask(scene, "POST", JOBS, body), 202);
    (void)snprintf(job, 256, "%s", text_behind(scene, "\"id\":\""));
}

static void an_import_that_is_complete_has_filled_the_list(void **state)
{
    struct scene *scene = *state;
    char job[256];

    import(scene, job, JOB(ADA "," BOB));
    assert_int_equal(ask_job(scene, job, ""), 200);
    assert_true(says(scene, "\"status\":\"complete\""));
    assert_true(says(scene, "\"total_count\":2,\"completed_count\":2,\"failed_count\":0"));
    assert_int_equal(ask(scene, "GET", "/control/lists/L1/count", NULL), 200);
    assert_true(says(scene, "{\"count\":2}"));
    assert_int_equal(ask_job(scene, job, "/relationships/profiles"), 200);
    assert_true(says(scene, "\"next\":null"));
}

static void a_job_shows_no_effect_before_its_end(void **state)
{
    struct scene *scene = *state;
    char job[256];

    (void)ask(scene, "PUT", "/control/settings", "{\"queued_ms\":60000}");
    import(scene, job, JOB(ADA));
    assert_int_equal(ask_job(scene, job, ""), 200);
    assert_true(says(scene, "\"status\":\"queued\""));
    (void)ask(scene, "GET", "/control/lists/L1/count", NULL);
    assert_true(says(scene, "{\"count\":0}"));
    (void)ask_job(scene, job, "/profiles");
    assert_true(says(scene, "{\"data\":[]"));
}

static void repeats_merge_and_keep_the_profile(void **state)
{
    struct scene *scene = *state;
    char job[256];

    import(scene, job, JOB(ADA));
    import(scene, job,
           JOB(ROW("\"email\":\" ADA@x.example\",\"title\":null,\"properties\":{\"b\":2}")));
    import(scene, job, JOB(ROW("\"email\":\"ada@x.example\",\"title\":\"Dr\"")));
    (void)ask(scene, "GET", "/control/lists/L1/members?attributes=1", NULL);
    assert_true(says(scene, "{\"count\":1,"));
    assert_true(says(scene, "\"properties\":{\"a\":1,\"b\":2}"));
    assert_true(says(scene, "\"title\":\"Dr\""));
}

static void one_bad_row_refuses_the_whole_import(void **state)
{
    struct scene *scene = *state;

    assert_int_equal(ask(scene, "POST", JOBS, JOB(ADA "," ROW("\"email\":\"bob@\""))), 400);
    assert_true(says(scene, "\"/data/attributes/profiles/data/1/attributes/email\""));
    assert_true(says(scene, "\"status\":400,\"code\":\"invalid\""));
    (void)ask(scene, "GET", "/control/jobs", NULL);
    assert_true(says(scene, "{\"jobs\":[]}"));
}

static void an_unknown_list_is_a_400_about_the_request(void **state)
{
    struct scene *scene = *state;

    (void)ask(scene, "DELETE", "/control/lists/L1", NULL);
    assert_int_equal(ask(scene, "POST", JOBS, JOB(ADA)), 400);
    assert_true(says(scene, "List ID L1 does not exist."));
    assert_true(says(scene, "{\"pointer\":\"/data\"}"));
    assert_int_equal(ask(scene, "GET", "/api/lists/L1", NULL), 404);
}

static void bad_rows_can_be_named_in_rounds(void **state)
{
    struct scene *scene = *state;

    (void)ask(scene, "PUT", "/control/settings", "{\"sync_errors_max\":1}");
    (void)ask(scene, "POST", "/control/rejects",
              "{\"emails\":[\"BOB@x.example\",\"ada@x.example\"],\"code\":\"odd\"}");
    assert_int_equal(ask(scene, "POST", JOBS, JOB(ADA "," BOB)), 400);
    assert_true(says(scene, "/data/0/") && !says(scene, "/data/1/") && says(scene, "\"odd\""));
}

/* Import errors: with index and payload, or with neither. */
static void rows_that_fail_in_the_job_are_import_errors(void **state)
{
    struct scene *scene = *state;
    char job[256];

    (void)ask(scene, "POST", "/control/rejects",
              "{\"suffix\":\"b@x.example\",\"stage\":\"import-error\",\"detail\":\"no\"}");
    import(scene, job, JOB(ADA "," BOB));
    (void)ask_job(scene, job, "");
    assert_true(says(scene, "\"completed_count\":1,\"failed_count\":1"));
    (void)ask_job(scene, job, "/import-errors");
    assert_true(says(scene, "\"/data/attributes/profiles/data/1/attributes/email\""));
    assert_true(says(scene, "\"original_payload\":{\"email\":\"bob@x.example\"}"));

    (void)ask(scene, "PUT", "/control/settings",
              "{\"pointer_index\":false,\"payload\":\"null\",\"completed_includes_failed\":true}");
    (void)ask_job(scene, job, "/import-errors");
    assert_true(says(scene, "{\"pointer\":\"/data\"}"));
    assert_true(says(scene, "\"original_payload\":null"));
    (void)ask_job(scene, job, "");
    assert_true(says(scene, "\"completed_count\":2,\"failed_count\":1"));
}

static void fates_of_jobs_can_be_chosen(void **state)
{
    static const struct {
        const char *action, *shown;
        int status;
        const char *count;
    } cases[] = {
        { "\"cancelled\"", "\"status\":\"cancelled\"", 200, "{\"count\":0}" },
        { "\"stuck\"", "\"status\":\"processing\"", 200, "{\"count\":0}" },
        { "\"vanish\"", "Invalid job id", 404, "{\"count\":0}" },
        { "{\"fail_without_errors\":1}", "\"failed_count\":1", 200, "{\"count\":1}" },
        { "{\"errors_nameless\":2}", "\"failed_count\":2", 200, "{\"count\":1}" },
    };
    struct scene *scene = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char rule[256], job[256];

        (void)snprintf(rule, sizeof rule, "{\"endpoint\":\"import\",\"action\":{\"job\":%s}}",
                       cases[i].action);
        assert_int_equal(ask(scene, "POST", "/control/faults", rule), 201);
        import(scene, job, JOB(ADA "," BOB));
        assert_int_equal(ask_job(scene, job, ""), cases[i].status);
        assert_true(says(scene, cases[i].shown));
        (void)ask(scene, "GET", "/control/lists/L1/count", NULL);
        assert_true(says(scene, cases[i].count));
    }
}

static void the_fate_of_a_job_waits_for_an_import_that_makes_one(void **state)
{
    struct scene *scene = *state;
    char job[256];

    (void)ask(scene, "POST", "/control/rejects", "{\"emails\":[\"bob@x.example\"]}");
    (void)ask(scene, "POST", "/control/faults",
              "{\"endpoint\":\"import\",\"action\":{\"job\":\"cancelled\"}}");
    assert_int_equal(ask(scene, "POST", JOBS, JOB(BOB)), 400);
    import(scene, job, JOB(ADA));
    (void)ask_job(scene, job, "");
    assert_true(says(scene, "\"status\":\"cancelled\""));
}

static void keys_and_scopes_are_enforced(void **state)
{
    struct scene *scene = *state;

    (void)ask(scene, "PUT", "/control/keys/pk_2", "{\"scopes\":[\"lists:read\"]}");
    scene->key = "pk_2";
    assert_int_equal(ask(scene, "GET", "/api/lists/L1", NULL), 200);
    assert_string_equal(header(scene, "ratelimit-limit"), "75, 75;w=1, 750;w=60");
    assert_int_equal(ask(scene, "GET", "/api/accounts", NULL), 403);
    assert_true(says(scene, "permission_denied"));
    (void)ask(scene, "DELETE", "/control/keys/pk_2", NULL);
    assert_int_equal(ask(scene, "GET", "/api/lists/L1", NULL), 401);
    assert_null(header(scene, "ratelimit-limit"));
    scene->key = NULL;
    assert_int_equal(ask(scene, "GET", "/api/lists/L1", NULL), 401);
}

static void limits_are_enforced_and_can_be_lifted(void **state)
{
    struct scene *scene = *state;
    int refused = 0;

    for (int i = 0; i < 3; i++) /* 1 a second: at most one window ends meanwhile */
        refused += ask(scene, "GET", "/api/accounts", NULL) == 429;
    assert_true(refused >= 1);
    (void)ask(scene, "GET", "/api/accounts", NULL);
    (void)ask(scene, "PUT", "/control/settings", "{\"limits\":false}");
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(scene, "GET", "/api/accounts", NULL), 200);
}

static void a_throttled_endpoint_stays_closed_and_marks_who_comes_early(void **state)
{
    struct scene *scene = *state;

    (void)ask(scene, "POST", "/control/faults",
              "{\"endpoint\":\"lists\",\"action\":{\"throttle\":7}}");
    assert_int_equal(ask(scene, "GET", "/api/lists", NULL), 429);
    assert_string_equal(header(scene, "retry-after"), "7");
    assert_int_equal(ask(scene, "GET", "/api/lists", NULL), 429);
    assert_int_equal(ask(scene, "GET", "/api/lists/L1", NULL), 200);
    (void)ask(scene, "GET", "/control/diary?after=1", NULL);
    assert_true(says(scene, "\"seq\":2,") && says(scene, "\"early\":true"));
    (void)ask(scene, "DELETE", "/control/faults", NULL);
    assert_int_equal(ask(scene, "GET", "/api/lists", NULL), 200);
}

static void faults_strike_when_they_should(void **state)
{
    static const int expected[] = { 200, 200, 503, 503, 200 };
    struct scene *scene = *state;

    (void)ask(scene, "POST", "/control/faults",
              "{\"endpoint\":\"list\",\"skip\":2,\"times\":2,"
              "\"action\":{\"status\":503,\"headers\":{\"retry-after\":\"3\"}}}");
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(ask(scene, "GET", "/api/lists/L1", NULL), expected[i]);
    (void)ask(scene, "GET", "/control/faults", NULL);
    assert_true(says(scene, "\"hits\":2"));
    assert_int_equal(ask(scene, "POST", "/control/faults", "{\"action\":{\"stauts\":503}}"), 400);
}

static void a_lost_answer_leaves_the_work_done(void **state)
{
    struct scene *scene = *state;

    (void)ask(scene, "POST", "/control/faults",
              "{\"method\":\"POST\",\"action\":{\"reset\":\"before\"}}");
    (void)ask(scene, "POST", "/control/faults",
              "{\"method\":\"POST\",\"action\":{\"reset\":\"after\"}}");
    assert_int_equal(ask(scene, "POST", JOBS, JOB(ADA)), 0);
    (void)ask(scene, "GET", "/control/lists/L1/count", NULL);
    assert_true(says(scene, "{\"count\":0}"));
    assert_int_equal(ask(scene, "POST", JOBS, JOB(ADA)), 0);
    (void)ask(scene, "GET", "/control/lists/L1/count", NULL);
    assert_true(says(scene, "{\"count\":1}"));
}

static void consent_is_never_touched_and_who_tries_is_caught(void **state)
{
    struct scene *scene = *state;

    (void)ask(scene, "PUT", "/control/keys/pk_1", "{\"scopes\":\"all\"}");
    assert_int_equal(ask(scene, "POST", "/api/profile-subscription-bulk-create-jobs", "{}"), 403);
    (void)ask(scene, "GET", "/control/diary", NULL);
    assert_true(says(scene, "\"forbidden\":true"));
}

static void members_leave_by_id(void **state)
{
    struct scene *scene = *state;
    char job[256], body[256];

    import(scene, job, JOB(ADA "," BOB));
    (void)ask(scene, "GET", "/api/profiles?filter=equals(email,\"Bob@x.example\")", NULL);
    (void)snprintf(body, sizeof body, "{\"data\":[{\"type\":\"profile\",\"id\":\"%s\"}]}",
                   text_behind(scene, "\"id\":\""));
    assert_int_equal(ask(scene, "DELETE", "/api/lists/L1/relationships/profiles", body), 204);
    assert_int_equal(scene->answer.body.len, 0);
    (void)ask(scene, "GET", "/api/lists/L1/profiles?sort=-joined_group_at", NULL);
    assert_true(says(scene, "ada@x.example") && !says(scene, "bob@x.example"));
    assert_int_equal(ask(scene, "POST", "/api/lists/L1/relationships/profiles",
                         "{\"data\":[{\"type\":\"profile\",\"id\":\"nobody\"}]}"),
                     404);
}

static void a_profile_import_clears_with_null(void **state)
{
    struct scene *scene = *state;
    static const char first[] =
        "{\"data\":" ROW("\"email\":\"a@x.example\",\"title\":\"Dr\",\"external_id\":\"1\"") "}";
    static const char second[] = "{\"data\":" ROW("\"email\":\"a@x.example\",\"title\":null") "}";
    static const char other[] = "{\"data\":" ROW("\"email\":\"b@x.example\"") "}";
    static const char both[] =
        "{\"data\":" ROW("\"email\":\"b@x.example\",\"external_id\":\"1\"") "}";

    assert_int_equal(ask(scene, "POST", "/api/profile-import", first), 201);
    assert_int_equal(ask(scene, "POST", "/api/profile-import", second), 200);
    assert_true(says(scene, "\"title\":null"));
    assert_int_equal(ask(scene, "POST", "/api/profile-import", other), 201);
    assert_int_equal(ask(scene, "POST", "/api/profile-import", both), 409);
    assert_true(says(scene, "\"duplicate_profile_id\":\"01"));
}

static void paths_and_methods_that_are_not_there_are_refused(void **state)
{
    struct scene *scene = *state;

    assert_int_equal(ask(scene, "GET", "/api/nothing", NULL), 404);
    assert_int_equal(ask(scene, "PATCH", "/api/lists", "{}"), 405);
    assert_int_equal(ask(scene, "GET", JOBS "/", NULL), 200);
    assert_true(says(scene, "{\"data\":[]"));
    assert_int_equal(ask(scene, "GET", "/api/lists/L1?bogus=1", NULL), 400);
    assert_true(says(scene, "{\"parameter\":\"bogus\"}"));
}

static void after_a_reset_nothing_is_left(void **state)
{
    struct scene *scene = *state;
    char job[256];

    import(scene, job, JOB(ADA));
    assert_int_equal(ask(scene, "DELETE", "/control/state", NULL), 204);
    assert_int_equal(ask(scene, "GET", "/api/lists/L1", NULL), 401);
    (void)ask(scene, "GET", "/control/stats", NULL);
    assert_true(says(scene, "\"profiles_received\":0"));
}

#define IN_SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCENE(an_import_that_is_complete_has_filled_the_list),
        IN_SCENE(a_job_shows_no_effect_before_its_end),
        IN_SCENE(repeats_merge_and_keep_the_profile),
        IN_SCENE(one_bad_row_refuses_the_whole_import),
        IN_SCENE(an_unknown_list_is_a_400_about_the_request),
        IN_SCENE(bad_rows_can_be_named_in_rounds),
        IN_SCENE(rows_that_fail_in_the_job_are_import_errors),
        IN_SCENE(fates_of_jobs_can_be_chosen),
        IN_SCENE(the_fate_of_a_job_waits_for_an_import_that_makes_one),
        IN_SCENE(keys_and_scopes_are_enforced),
        IN_SCENE(limits_are_enforced_and_can_be_lifted),
        IN_SCENE(a_throttled_endpoint_stays_closed_and_marks_who_comes_early),
        IN_SCENE(faults_strike_when_they_should),
        IN_SCENE(a_lost_answer_leaves_the_work_done),
        IN_SCENE(consent_is_never_touched_and_who_tries_is_caught),
        IN_SCENE(members_leave_by_id),
        IN_SCENE(a_profile_import_clears_with_null),
        IN_SCENE(paths_and_methods_that_are_not_there_are_refused),
        IN_SCENE(after_a_reset_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
