"""The function that refuses links which lead back to the record in which they stand."""

from __future__ import annotations

from typing import Final

from migrations.defining import SETTINGS_9, RecordType

MAX_LEVELS: Final = 1_000
MAX_RECORDS: Final = 10_000
_LEADS_ON: Final = """(l.link IN ('parent', 'member', 'superseded_by')
                 OR l.link = 'target' AND l.denial_id IS NOT NULL)"""


_OF_MERGED: Final = "l.link = 'merged_into'"
"""The link of a merged source leads on to the one that it means."""
# Which records have links to walk along: each by itself, as 0010 took them.
_EACH: Final = f"""
        FOR start IN
            SELECT DISTINCT l.owner_id AS id, l.link FROM links AS l
            WHERE l.owner_id = ANY(ids) AND l.owner_type = owners
                AND {_LEADS_ON}
            ORDER BY l.owner_id, l.link
        LOOP"""
# Since 0026: of several records, those alone that all their links together do not clear.
_SUSPECTS: Final = f"""
        FOR kind IN
            SELECT l.link, array_agg(DISTINCT l.owner_id ORDER BY l.owner_id) AS ids FROM links AS l
            WHERE l.owner_id = ANY(ids) AND l.owner_type = owners
                AND {_LEADS_ON}
            GROUP BY l.link ORDER BY l.link
        LOOP
        IF cardinality(kind.ids) > 1 THEN
            kind.ids := circle_suspects(owners, kind.link, kind.ids);
        END IF;
        FOR start IN SELECT s.id, kind.link FROM unnest(kind.ids) AS s(id) LOOP"""
# Since 0034: Postgres makes a new plan for each search, also for one that has nothing to begin at.
_NO_RECORDS: Final = """
        IF cardinality(ids) = 0 THEN
            RETURN;
        END IF;"""


def create_function(
    types: tuple[RecordType, ...],
    *,
    merges: bool = False,
    together: bool = False,
    at_once: bool = False,
) -> str:
    """Define the function for all types that have `circles`; each can refer to its own type.

    The error names the property, for the service to say where the link stands. `together` it asks
    `circle_suspects` first. `at_once` it returns where there is no record.
    """
    walked = _walked("start.link", merges=merges)
    locks, targets = _locks(types), _targets(types)
    starts, declared, end = _EACH, "", ""
    if together:
        starts, declared, end = _SUSPECTS, "\n        kind record;", "\n        END LOOP;"
    return f"""
    CREATE FUNCTION refuse_circles(owners text, ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE{SETTINGS_9} AS $$
    DECLARE
        start record;
        level uuid[];
        passed uuid[];
        levels integer;
        property text;
        why text;{declared}
    BEGIN{_NO_RECORDS if at_once else ""}{starts}
            level := ARRAY[start.id];
            passed := '{{}}';
            levels := 0;
            why := NULL;
            LOOP
                level := ARRAY(
                    SELECT coalesce({targets}) FROM links AS l
                    WHERE l.owner_id = ANY(level) AND l.owner_type = owners
                        AND {walked}
                    EXCEPT
                    SELECT unnest(passed)
                );
                EXIT WHEN cardinality(level) = 0;
                passed := passed || level;
                levels := levels + 1;
                IF start.id = ANY(level) THEN
                    why := 'circle';
                ELSIF levels > {MAX_LEVELS} OR cardinality(passed) > {MAX_RECORDS} THEN
                    why := 'length';
                END IF;
                EXIT WHEN why IS NOT NULL;
                {locks}
                END IF;
            END LOOP;
            IF why IS NOT NULL THEN
                property := CASE
                    WHEN start.link = 'parent' AND owners = 'claim' THEN 'parent_claim_id'
                    WHEN start.link = 'parent' THEN 'parent_id'
                    WHEN start.link = 'member' THEN 'members'
                    WHEN start.link = 'superseded_by' THEN 'superseded_by_id'
                    ELSE 'targets'
                END;
                RAISE EXCEPTION 'the links of % % lead back to it, or too far', owners, start.id
                    USING ERRCODE = 'integrity_constraint_violation',
                    CONSTRAINT = 'links_circle_' || why, COLUMN = property;
            END IF;
        END LOOP;{end}
    END
    $$
    """


def create_suspects(types: tuple[RecordType, ...]) -> str:
    """Define the function that names those of some records that may be in a circle of links.

    It reads each link once, however many records lead on to it. What is reached is put in order,
    targets before owners: what has no place in that order is in a circle, or leads to one. A record
    from which links lead over more than `MAX_LEVELS` records in a row is named as well. If more than
    `MAX_RECORDS` are reached from all of the records together, all of them are named.
    """
    return f"""
    CREATE FUNCTION circle_suspects(owners text, kind text, starts uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql VOLATILE{SETTINGS_9} SET enable_nestloop = off AS $$
    DECLARE
        level uuid[] := starts;
        passed uuid[] := starts; -- the place of a record in here is its number
        owner_ids uuid[] := '{{}}'; -- of the links
        target_ids uuid[] := '{{}}';
        more_owners uuid[];
        more_targets uuid[];
        link_owners integer[]; -- by the number of their targets
        firsts integer[]; -- where those of each target begin
        lasts integer[];
        unmet integer[]; -- how many targets of each record have no place yet
        depths integer[] := '{{}}';
        places integer[] := '{{}}';
        last integer := 0;
        place integer := 1;
        owner integer;
    BEGIN
        LOOP
            SELECT array_agg(l.owner_id), array_agg(coalesce({_targets(types)}))
            INTO more_owners, more_targets
            FROM links AS l
            WHERE l.owner_id = ANY(level) AND l.owner_type = owners
                AND {_walked("kind", merges=True)};
            EXIT WHEN more_owners IS NULL;
            owner_ids := owner_ids || more_owners;
            target_ids := target_ids || more_targets;
            level := ARRAY(SELECT unnest(more_targets) EXCEPT SELECT unnest(passed));
            EXIT WHEN cardinality(level) = 0;
            passed := passed || level;
            IF cardinality(passed) > {MAX_RECORDS} THEN
                RETURN starts;
            END IF;
            {_locks(types).replace(f"{chr(10)}                ", f"{chr(10)}            ")}
            END IF;
        END LOOP;
        WITH record AS MATERIALIZED (
            SELECT r.id, r.number::integer FROM unnest(passed) WITH ORDINALITY AS r(id, number)
        ), edge AS MATERIALIZED (
            SELECT o.number AS owner, t.number AS target
            FROM unnest(owner_ids, target_ids) AS l(owner_id, target_id)
            JOIN record AS o ON o.id = l.owner_id
            JOIN record AS t ON t.id = l.target_id
        )
        SELECT (SELECT array_agg(e.owner ORDER BY e.target) FROM edge AS e),
               array_agg(r.last - r.to_it + 1 ORDER BY r.number),
               array_agg(r.last ORDER BY r.number),
               array_agg(r.from_it ORDER BY r.number)
        INTO link_owners, firsts, lasts, unmet
        FROM (
            SELECT r.number, coalesce(t.links, 0) AS to_it, coalesce(o.links, 0) AS from_it,
                   sum(coalesce(t.links, 0)) OVER (ORDER BY r.number) AS last
            FROM record AS r
            LEFT JOIN (SELECT e.target, count(*) AS links FROM edge AS e GROUP BY e.target) AS t
                ON t.target = r.number
            LEFT JOIN (SELECT e.owner, count(*) AS links FROM edge AS e GROUP BY e.owner) AS o
                ON o.owner = r.number
        ) AS r;
        FOR number IN 1 .. cardinality(passed) LOOP
            depths[number] := 0;
            IF unmet[number] = 0 THEN
                last := last + 1;
                places[last] := number;
            END IF;
        END LOOP;
        WHILE place <= last LOOP
            FOR link IN firsts[places[place]] .. lasts[places[place]] LOOP
                owner := link_owners[link];
                depths[owner] := greatest(depths[owner], depths[places[place]] + 1);
                unmet[owner] := unmet[owner] - 1;
                IF unmet[owner] = 0 THEN
                    last := last + 1;
                    places[last] := owner;
                END IF;
            END LOOP;
            place := place + 1;
        END LOOP;
        RETURN ARRAY(
            SELECT starts[number] FROM generate_series(1, cardinality(starts)) AS number
            WHERE unmet[number] > 0 OR depths[number] > {MAX_LEVELS}
            ORDER BY number
        );
    END
    $$
    """


def replace_function(
    types: tuple[RecordType, ...],
    *,
    merges: bool = False,
    together: bool = False,
    at_once: bool = False,
) -> str:
    """Define the function for other types than before, or as a later migration has it."""
    created = create_function(types, merges=merges, together=together, at_once=at_once)
    return created.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)


def _walked(kind: str, *, merges: bool) -> str:
    """Write the condition of the links that are walked along, from one of a kind."""
    of_kind = f"l.link = {kind} AND {_LEADS_ON}"
    return f"({of_kind} OR {_OF_MERGED})" if merges else of_kind


def _locks(types: tuple[RecordType, ...]) -> str:
    """Lock the records of a level, so that their links stay until the transaction ends."""
    return "\n                ".join(
        f"""{"ELSIF" if place else "IF"} owners = '{each.type}' THEN
                    PERFORM FROM {each.table} AS t WHERE t.id = ANY(level) ORDER BY t.id FOR SHARE;"""
        for place, each in enumerate(types)
    )


def _targets(types: tuple[RecordType, ...]) -> str:
    return ", ".join(f"l.{each.type}_id" for each in types)
