"""The environment variables that Tingbro reads: their names, what they default to and what they do.

`docs/settings.md` is this list as a page; a test compares the two. After a change here::

    python -m web.variables > docs/settings.md
"""

import sys
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "TINGBRO_"


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting. `name` goes without the prefix; `default` is what a reader is told."""

    name: str
    default: str
    meaning: str


VARIABLES: Final = (
    Variable(
        "DATA_DIR",
        "`./data`",
        "Directory for everything the hub keeps: database, journal, secret key. Created if missing.",
    ),
    Variable(
        "HTTP_HOST",
        "`0.0.0.0`",
        "Address to listen on. The default is every IPv4 interface, because a hub that devices "
        "cannot reach is no hub; use `127.0.0.1` behind a reverse proxy on the same machine, `::` "
        "for IPv6 as well.",
    ),
    Variable("HTTP_PORT", "`3000`", "Port of the API, the devices' endpoint and the health pages."),
    Variable(
        "BASE_URL",
        "`http://localhost:PORT`",
        "The address under which people and devices reach the hub, as written in what it prints and "
        "in the catalogues of open data: portals take data sets under another address for new ones.",
    ),
    Variable(
        "DATABASE_URL",
        "`sqlite:///DATA_DIR/tingbro.db`",
        "Where messages and entities are kept: `sqlite:///relative/path`, `sqlite:////absolute/path` "
        "or `postgresql://user:password@host:5432/database`, with what libpq takes behind it "
        "(`?sslmode=verify-full`). It is never repeated in what is printed or logged.",
    ),
    Variable(
        "KAFKA_BOOTSTRAP_SERVERS",
        "none",
        "Comma-separated `host:port` of Kafka brokers. For `web` and `worker`, the processes of a hub "
        "of several; `up` keeps its journal in the database and refuses it.",
    ),
    Variable(
        "KAFKA_PARTITIONS",
        "`12`",
        "Partitions of a topic when `tingbro migrate` makes it, 1 to 4096: the most "
        "workers that can share the work; four for each worker make even shares. A topic that is there "
        "already is left as it is.",
    ),
    Variable(
        "KAFKA_REPLICATION",
        "`1`",
        "Brokers that keep a copy of each partition when a topic is made, 1 to 32. With 1 a broker "
        "that is lost takes acknowledged messages with it: use 3 where there are three brokers.",
    ),
    Variable(
        "KAFKA_TOPIC_PREFIX",
        "none",
        "Stands before the names of the topics (`uplink.raw`, `uplink.decoded`) and of the consumer "
        "group, so that several hubs can use one Kafka: `city.` gives `city.uplink.raw`.",
    ),
    Variable(
        "KAFKA_SECURITY_PROTOCOL",
        "`plaintext`",
        "`plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.",
    ),
    Variable(
        "KAFKA_CA_FILE",
        "the system's",
        "PEM file with the authorities that the brokers' certificates are checked against.",
    ),
    Variable(
        "KAFKA_SASL_MECHANISM",
        "none",
        "`plain`, `scram-sha-256` or `scram-sha-512`, with the two protocols that log in.",
    ),
    Variable("KAFKA_SASL_USERNAME", "none", "The name to log in to Kafka with."),
    Variable("KAFKA_SASL_PASSWORD", "none", "The password to log in to Kafka with."),
    Variable(
        "PROCESS_NAME",
        "`HOST-PID`",
        "What this process is called among the processes of the hub: no two that run at once may "
        "have the same name. 1 to 100 letters, digits, dots, dashes or underscores.",
    ),
    Variable(
        "SECRET_KEY",
        "generated",
        "Signs sessions and seals the secrets of data targets: whoever knows it can be any user. At "
        "least 32 characters. When not given, one is generated and kept in `DATA_DIR/secret_key`, "
        "readable by the owner only. `web` and `worker` need it given, the same for every process. "
        "What one key has sealed no other opens: keep a copy of it, though not beside the backups.",
    ),
    Variable(
        "TLS_CERTIFICATE",
        "none",
        "PEM file with the certificate chain; with it the hub speaks HTTPS by itself.",
    ),
    Variable("TLS_KEY", "none", "PEM file with the certificate's private key."),
    Variable(
        "TRUSTED_PROXIES",
        "none",
        "Comma-separated addresses or networks whose `X-Forwarded-*` headers are believed.",
    ),
    Variable(
        "TARGET_ALLOW_NETWORKS",
        "none",
        "Comma-separated networks in which data targets may be although they are not on the public "
        "Internet, such as `10.20.0.0/16`. Whoever may set up a data target can then have the hub send "
        "to every machine in them. Everything private, local or reserved is refused otherwise, also "
        "when a name comes to stand for it later.",
    ),
    Variable(
        "TARGET_ALLOW_HTTP",
        "`no`",
        "`yes` lets data targets have addresses with `http://`, and be brokers of Kafka without TLS: "
        "messages, and the passwords of the targets, then travel readable for everybody on the way.",
    ),
    Variable(
        "TARGET_ALLOW_PORTS",
        "`80,443,1024-65535`",
        "Comma-separated ports, and ranges of ports, at which data targets may be. Below 1024 are the "
        "services of the machines themselves, which are no receivers of messages.",
    ),
    Variable(
        "ADMIN_EMAIL",
        "`admin@localhost`",
        "E-mail of the administrator that is created on the first start.",
    ),
    Variable(
        "ADMIN_PASSWORD",
        "generated",
        "The first administrator's password, 8 to 50 characters. When not given, one is generated "
        "and printed once. It has no effect after the first start.",
    ),
    Variable("LOG_LEVEL", "`info`", "`debug`, `info`, `warning` or `error`."),
    Variable(
        "LOG_FORMAT",
        "`auto`",
        "`console` for people, `json` for machines; `auto` is console on a terminal and json "
        "otherwise.",
    ),
    Variable(
        "MAX_BODY_BYTES",
        "`1048576`",
        "Largest request body accepted, 1 KiB to 16 MiB; more is answered 413. What is pushed to a "
        "data target is at most 1 MiB all the same.",
    ),
    Variable(
        "DECODER_WORKERS",
        "processor cores, 2 to 8",
        "Processes that run payload decoders, 1 to 64. With one, a slow script delays all others.",
    ),
    Variable(
        "RAW_RETENTION_DAYS",
        "`30`",
        "Days that messages are kept, raw and decoded, so that they can be decoded again, and with "
        "them what became of their deliveries; 1 to 3650. What still waits is kept longer.",
    ),
    Variable(
        "SHUTDOWN_TIMEOUT_S",
        "`8`",
        "Seconds that an orderly stop may take, 1 to 300. The default is below the ten seconds "
        "after which container runtimes kill. What is not finished by then is finished after the "
        "next start.",
    ),
)


def page() -> str:
    """The settings page of the documentation, as Markdown."""
    lines = [
        "# Settings",
        "",
        "Settings come from the environment and are read once, at start. `tingbro check` reads them",
        "without starting anything and reports every mistake together; a misspelt name is a mistake",
        "too, so that nothing is silently ignored. An empty value counts as not set.",
        "",
        "| variable | default | meaning |",
        "| --- | --- | --- |",
        *(
            f"| `{PREFIX}{variable.name}` | {variable.default} | {variable.meaning} |"
            for variable in VARIABLES
        ),
        "",
        "This page is made by `python -m web.variables > docs/settings.md`.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
