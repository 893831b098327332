"""What `--help` says below the list of options."""

from typing import Final

TINGBRO: Final = """\
examples:
  tingbro up                       start the hub with what the environment says
  TINGBRO_HTTP_PORT=8080 tingbro up
  tingbro check                    is everything here that `up` needs?
  tingbro listen                   print whatever a data target pushes to this machine
  tingbro admin reset-password you@example.org

beyond one machine, with PostgreSQL and Kafka (docs/scaling.md):
  tingbro migrate                  once before each start of a new version
  tingbro web                      as many as you like behind a load balancer
  tingbro worker                   as many as you like, on any machine
  tingbro copy --from sqlite:///data/tingbro.db --to postgresql://hub@db/tingbro

settings come from the environment and start with TINGBRO_; docs/settings.md lists them.

exit codes:
  0  done
  1  the command failed; the last line says why
  2  the command line or the settings are wrong; every mistake is named
  3  something around the hub is missing: a port, disk space, a directory, the schema, a server
"""

UP: Final = """\
Everything is kept in TINGBRO_DATA_DIR (./data), or in the PostgreSQL database that
TINGBRO_DATABASE_URL names. The first start makes it and prints the administrator's e-mail and
password. What was acknowledged survives any kind of end.

For more than one process run `tingbro web` and `tingbro worker` instead.
"""

WEB: Final = """\
Takes messages in, answers the API and serves the health pages. A device has its answer when Kafka
has its message; the workers do the rest. All web processes are equal: put as many as you like
behind a load balancer that asks /readyz.

needs TINGBRO_DATABASE_URL=postgresql://..., TINGBRO_KAFKA_BOOTSTRAP_SERVERS, and TINGBRO_SECRET_KEY,
the same in all; `tingbro migrate` first.
"""

WORKER: Final = """\
Decodes and delivers. All workers are equal: they share the devices among them, and when one ends,
in order or not, the others take over what was its own. It listens on no port; what it does is seen at
/api/v1/actors of any web process. More workers than TINGBRO_KAFKA_PARTITIONS find nothing to do.

needs TINGBRO_DATABASE_URL=postgresql://..., TINGBRO_KAFKA_BOOTSTRAP_SERVERS, and TINGBRO_SECRET_KEY,
the same as the web processes have; `tingbro migrate` first.
"""

CHECK: Final = """\
Nothing is started and nothing is changed, except that the data directory is created and a file
is written there and removed again. Run it as the user and with the environment of the hub.
"""

MIGRATE: Final = """\
`up` does this by itself on SQLite. Run it alone to see, before an upgrade, that it works: on a copy
of the data directory, or while the hub is stopped.

With Kafka it also makes the topics that are missing, and hands over to Kafka what a hub that ran
without it had accepted and not finished. Safe to run again, and on several machines at once.
"""

COPY: Final = """\
Moves a hub to another database without losing a message. Stop the hub on the source; make an
empty database and run `tingbro migrate` on it; copy; start the hub on the copy, and never again on
the source, because both would deliver what waits.

  TINGBRO_DATABASE_URL=postgresql://hub:PASSWORD@db/tingbro tingbro migrate
  tingbro copy --from sqlite:///data/tingbro.db --to postgresql://hub:PASSWORD@db/tingbro

A password on the command line is seen by everyone on the machine: PGPASSWORD or ~/.pgpass keep it
out. It is all or nothing: an interrupted copy leaves the target empty, and is simply run again. Take
DATA_DIR/secret_key along as TINGBRO_SECRET_KEY: nothing else opens the secrets of data targets.
"""

JOURNAL: Final = """\
The hub stops, and says so, when the topic that is its journal is not the one that it has worked on:
deleted, made anew, cut short by its retention, given more partitions, or on another cluster. Going on
by itself would pass over messages in silence, or take them twice.

  tingbro journal show             what was registered, what is there, what waits
  tingbro journal accept           go on with what is there, and give up what is gone
"""

JOURNAL_SHOW: Final = """\
For each partition: the offset before which everything is settled, the first and the next offset
that Kafka has, and how many messages wait. Ends with 1 when Kafka and the database do not agree, and says
what can be done.
"""

JOURNAL_ACCEPT: Final = """\
Look with `tingbro journal show` first. What Kafka has lost and was not processed is given up by this:
devices had been told that it is safe. A topic that was made anew is read from its beginning; the
same topic from where it was settled, or from the first offset that is left. A greater count of
partitions is taken over when nothing waits. Where all agrees, nothing happens. Processes that run
notice within seconds.
"""

RESET_PASSWORD: Final = """\
Works beside a running hub and ends all sessions of that user. Run it as the user and with the
environment of the hub.
"""
