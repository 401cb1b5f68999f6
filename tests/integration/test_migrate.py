"""migrate: by many at once, by users with few rights, on a server without our roles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support import people
from support.paths import TREE
from support.postgres import Database, Postgres
from support.roles import make_login, make_logins
from support.worker import Result, run_command
from support.world import LIST, SEGMENT, World

FAILED = 1


def migrate(url: str) -> Result:
    return run_command(["migrate"], {**World.base_env(), "DATABASE_URL": url})


def test_databases_of_one_server_that_are_migrated_at_once(own_postgres: Postgres) -> None:
    databases = [own_postgres.create_database(f"site_{n}") for n in range(6)]

    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(lambda db: migrate(db.url), databases * 2))

    assert [result.rc for result in results] == [0] * 12, results
    for db in databases:
        assert db.value("select to_regclass('klaviyo.audit') is not null")


def test_whoever_may_not_make_roles_is_told_the_statements(own_postgres: Postgres) -> None:
    postgres = Database(own_postgres.url("postgres"), "postgres")
    postgres.execute("create role plain login")
    postgres.execute("create database plain owner plain")
    url = own_postgres.url("plain").replace("postgres@", "plain@")

    refused = migrate(url)
    nothing = Database(url, "plain").value("select to_regnamespace('klaviyo') is null")
    postgres.execute(refused.stdout)
    done = migrate(url)

    assert refused.rc == FAILED and nothing
    assert refused.stdout.count("create role klaviyo_") == 6
    assert "grant klaviyo_definer, klaviyo_source to plain;" in refused.stdout
    assert done.rc == 0, done


def test_who_does_not_own_the_schema_is_given_no_rights_by_migrate(world: World) -> None:
    """What an owner needs besides would let a person read every key."""
    for who, login in make_logins(world.db).items():
        refused = world.command("migrate", DATABASE_URL=login.url)

        assert refused.rc == FAILED and refused.stdout == "", (who, refused)
        assert "run it as postgres, the owner of schema klaviyo" in refused.stderr, (who, refused)


def test_who_may_not_make_the_schema_is_given_no_rights_by_migrate(world: World) -> None:
    world.db.execute("drop schema klaviyo cascade")
    login = make_login(world.db, "mo")

    refused = world.command("migrate", DATABASE_URL=login.url)

    assert refused.rc == FAILED and refused.stdout == "", refused
    assert "run it as the owner of the database" in refused.stderr, refused


def test_a_database_of_another_encoding_is_refused(own_postgres: Postgres) -> None:
    postgres = Database(own_postgres.url("postgres"), "postgres")
    postgres.execute("create database latin encoding 'LATIN1' locale 'C' template template0")

    result = migrate(own_postgres.url("latin"))

    assert result.rc == FAILED and "LATIN1" in result.stderr and "UTF8" in result.stderr
    assert Database(own_postgres.url("latin"), "latin").value("select to_regnamespace('klaviyo') is null")


def test_each_migration_has_a_number_of_its_own_and_was_applied(world: World) -> None:
    """Of two with one number the second would never be applied, and nothing would say so."""
    names = sorted(file.stem for file in (TREE / "schemas/sql").glob("[0-9]*.sql"))

    assert len({name[:4] for name in names}) == len(names), names
    assert world.db.rows("select name from klaviyo.migration order by version") == [(n,) for n in names]


def test_a_repeated_migration_does_nothing(world: World) -> None:
    applied = world.db.rows("select * from klaviyo.migration order by 1")

    result = world.admin("migrate")

    assert "nothing to do" in result.stdout
    assert world.db.rows("select * from klaviyo.migration order by 1") == applied


def test_a_site_whose_owner_is_no_superuser_works_all_the_same(world: World) -> None:
    """The database belongs to a plain user; the worker is another one."""
    owner = make_login(world.db, "owner")
    world.db.execute(f'alter database "{world.db.name}" owner to "{owner.name}"')
    world.db.execute("drop schema klaviyo cascade")
    world.db.execute("drop schema insights cascade")
    own = {"DATABASE_URL": owner.url}
    key_file = world.folder / "owner.key"

    refused = world.command("migrate", **own)
    assert refused.rc == FAILED and refused.stdout.count("\n") == 1, refused
    world.db.execute(refused.stdout)  # as a superuser
    must(world.command("migrate", **own))
    must(world.command("keygen", "--out", str(key_file), **own))
    world.add_segment(SEGMENT, people.simple(40))
    worker_login = make_login(world.db, "w", "klaviyo_worker")
    must(
        world.command(
            "connection", "add", "main", "--api-key-file", "-", "--agree-to-data-transfer",
            stdin="pk_planted0secret0key0of0account0A1", **own,
        )
    )  # fmt: skip
    must(
        world.command(
            "export", "add", "news", "--connection", "main", "--list", LIST, "--segment", SEGMENT,
            "--email-field", "email", **own,
        )
    )  # fmt: skip
    worker = world.start_worker(DATABASE_URL=worker_login.url, SECRET_KEY_FILE=str(key_file))
    must(world.command("publish", SEGMENT, "--wait", **own))
    must(world.command("publish", SEGMENT, "--full", "--wait", **own))
    must(world.command("export", "update", "news", "--list", "ListB2", **own))
    must(world.command("export", "remove", "news", **own))
    must(world.command("connection", "remove", "main", **own))

    assert world.simulator.count(LIST) == 40
    worker.stop()
    assert no_complaint_about_rights(worker.log)
    by = world.db.rows("select distinct by_user from klaviyo.audit")
    assert by == [(owner.name,)]


BREAK_OFF = """create function public.break_off() returns event_trigger language plpgsql as $$
begin
    if (select max(version) from klaviyo.migration) = {} then
        raise exception 'broken off';
    end if;
end $$;
create event trigger break_off on ddl_command_start when tag in ('GRANT') execute function public.break_off()"""


def test_a_migration_that_broke_off_before_the_rights_is_named(world: World) -> None:
    """Workers would find all tables, and no function that they may call."""
    newest = max(int(file.name[:4]) for file in (TREE / "schemas/sql").glob("[0-9]*.sql"))
    world.db.execute("drop schema klaviyo cascade")
    world.db.execute(BREAK_OFF.format(newest))
    assert world.command("migrate").rc == FAILED
    assert world.db.value("select max(version) from klaviyo.migration") == newest
    world.db.execute("drop event trigger break_off")

    for words in (["check"], ["run"], ["runs", "list"]):
        refused = world.command(*words)
        assert refused.rc == FAILED, refused
        assert "run klaviyo-worker migrate" in refused.stdout + refused.stderr, refused

    assert "nothing to do" in must(world.command("migrate")).stdout
    must(world.command("runs", "list"))


def test_the_owner_of_the_schema_needs_no_right_to_make_schemas(world: World) -> None:
    world.db.execute("drop schema klaviyo cascade; drop schema insights cascade")
    owner = make_login(world.db, "owner", "klaviyo_definer", "klaviyo_source")
    on = f'create on database "{world.db.name}"'
    world.db.execute(f'grant {on} to "{owner.name}"')
    must(migrate(owner.url))
    world.db.execute(f'revoke {on} from "{owner.name}"')

    again = migrate(owner.url)

    assert again.rc == 0 and "nothing to do" in again.stdout, again


def test_a_first_migration_finds_what_upstream_has_and_needs_no_right_to_make_it(world: World) -> None:
    """Both schemas are there: one is upstream's, the other was made by an administrator."""
    world.db.execute("drop schema klaviyo cascade")
    owner = make_login(world.db, "owner", "klaviyo_definer", "klaviyo_source")
    upstream = make_login(world.db, "upstream")
    world.db.execute(
        f'create schema klaviyo authorization "{owner.name}";'
        f'alter schema insights owner to "{upstream.name}";'
        f'grant usage on schema insights to "{owner.name}";'
        "revoke all on schema insights from klaviyo_worker, klaviyo_source"
    )
    for kind, relations in (("table", ("segment", "customer_profile", "segment_member")), ("view", ("segment_profile",))):
        for relation in relations:
            world.db.execute(
                f'alter {kind} insights.{relation} owner to "{upstream.name}";'
                f"revoke all on insights.{relation} from klaviyo_worker, klaviyo_source"
            )

    done = must(migrate(owner.url))

    grants = [line.strip() for line in done.stderr.splitlines() if line.strip().startswith("grant ")]
    assert grants == [
        "grant usage on schema insights to klaviyo_worker;",
        "grant usage on schema insights to klaviyo_source;",
        "grant select on insights.segment_profile to klaviyo_worker;",
        "grant select on insights.segment to klaviyo_source;",
        "grant select on insights.segment_profile to klaviyo_source;",
    ], done
    with upstream.connect() as connection:
        connection.execute("".join(grants))
    again = must(migrate(owner.url))
    assert again.stderr == "" and "nothing to do" in again.stdout, again


def no_complaint_about_rights(log: Path) -> bool:
    return "42501" not in log.read_text()


def must(result: Result) -> Result:
    assert result.rc == 0, f"`{result.command}`: {result.stderr}"
    return result
