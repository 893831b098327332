"""The command `tingbro`. Everything heavy is imported by the command that needs it.

Exit codes are part of the interface: scripts and service managers act on them.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from protocols.errors import (
    ConnectionLost,
    InvalidSettings,
    JournalMismatch,
    PortUnavailable,
    StorageError,
    TingbroError,
)
from web import help_texts
from web.version import VERSION

if TYPE_CHECKING:
    from web.roles import Role
    from web.settings import Settings


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    ENVIRONMENT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(words).parse_args(words)
    command: Callable[[argparse.Namespace], ExitCode] = options.command
    try:
        return command(options)
    except InvalidSettings as error:
        _complain("These settings are wrong:", *(f"  - {problem}" for problem in error.problems))
        return ExitCode.USAGE
    except PortUnavailable as error:
        _complain(str(error))
        return ExitCode.ENVIRONMENT
    except ConnectionLost as error:
        _complain(str(error))
        return ExitCode.ENVIRONMENT
    except JournalMismatch as error:
        _complain(str(error))
        return ExitCode.FAILED
    except StorageError as error:
        _complain(f"The database cannot be used: {error}")
        return ExitCode.ENVIRONMENT
    except TingbroError as error:
        _complain(str(error))
        return ExitCode.FAILED
    except OSError as error:
        _complain(f"The operating system refused: {error}")
        return ExitCode.ENVIRONMENT
    except KeyboardInterrupt:
        return ExitCode.DONE


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tingbro",
        description="An open IoT integration hub: devices in, decoded messages out, nothing lost.",
        epilog=help_texts.TINGBRO,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tingbro {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add(commands, "up", _up, "start the hub; stop it with Ctrl-C or SIGTERM", help_texts.UP)
    summary = "start one of the processes that take messages in"
    _add(commands, "web", _web, summary, help_texts.WEB)
    summary = "start one of the processes that decode and deliver"
    _add(commands, "worker", _worker, summary, help_texts.WORKER)
    _add(commands, "check", _check, "look whether the hub could start here", help_texts.CHECK)
    summary = "bring the database, and the topics, to what this version needs"
    _add(commands, "migrate", _migrate, summary, help_texts.MIGRATE)
    _add_copy(commands)
    _add_journal(commands)
    _add_admin(commands)
    listen = _add(commands, "listen", _listen, "receive pushes and print them")
    if "listen" in words:  # its module imports a web server, which `--help` need not wait for
        from web.listen import add_arguments

        add_arguments(listen)
    _add(commands, "version", _version, "print the version")
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Callable[[argparse.Namespace], ExitCode],
    summary: str,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


def _add_copy(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "copy a hub into another, empty database"
    copy = _add(commands, "copy", _copy, summary, help_texts.COPY)
    # `from` is a word of the language.
    copy.add_argument(
        "--from", dest="source", metavar="URL", required=True, help="where the hub is now"
    )
    copy.add_argument(
        "--to", dest="target", metavar="URL", required=True, help="a database that is empty"
    )


def _add_journal(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "look at the journal's topic, and go on when it has changed"
    parser = commands.add_parser(
        "journal",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=help_texts.JOURNAL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    summary = "compare the topic with what the database knows of it"
    _add(actions, "show", _journal_show, summary, help_texts.JOURNAL_SHOW)
    summary = "go on with the topic as it is now"
    accept = _add(actions, "accept", _journal_accept, summary, help_texts.JOURNAL_ACCEPT)
    accept.add_argument("--recreate", action="store_true", help="make a topic that is missing")


def _add_admin(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "help an administrator who is locked out"
    parser = commands.add_parser(
        "admin", help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    reset = _add(
        actions,
        "reset-password",
        _reset_password,
        "give a user a new password",
        help_texts.RESET_PASSWORD,
    )
    reset.add_argument("email", metavar="EMAIL", help="the user's e-mail")


def _up(_options: argparse.Namespace) -> ExitCode:
    from web.roles import Role

    settings = _prepare(Role.UP)

    import uvloop

    from web.run import run

    uvloop.run(run(settings))
    return ExitCode.DONE


def _web(_options: argparse.Namespace) -> ExitCode:
    from web.roles import Role

    settings = _prepare(Role.WEB)

    import uvloop

    from web.run import run_web

    uvloop.run(run_web(settings))
    return ExitCode.DONE


def _worker(_options: argparse.Namespace) -> ExitCode:
    from web.roles import Role

    settings = _prepare(Role.WORKER)

    import uvloop

    from web.run import run_worker

    uvloop.run(run_worker(settings))
    return ExitCode.DONE


def _check(_options: argparse.Namespace) -> ExitCode:
    settings = _prepare()

    from web.check import Verdict, check

    findings = check(settings)
    for finding in findings:
        _say(f"{finding.verdict.value:<8} {finding.subject}: {finding.sentence}")
    is_bad = any(finding.verdict is Verdict.MISSING for finding in findings)
    return ExitCode.ENVIRONMENT if is_bad else ExitCode.DONE


def _migrate(_options: argparse.Namespace) -> ExitCode:
    from web.roles import Role

    settings = _prepare(Role.MIGRATE)

    import asyncio

    from web.migration import migrate

    for sentence in asyncio.run(migrate(settings)):
        _say(sentence)
    return ExitCode.DONE


def _copy(options: argparse.Namespace) -> ExitCode:
    _prepare()

    import asyncio

    from web.moving import copy

    for sentence in asyncio.run(copy(options.source, options.target, _say)):
        _say(sentence)
    return ExitCode.DONE


def _journal_show(_options: argparse.Namespace) -> ExitCode:
    settings = _prepare()

    import asyncio

    from web.journal_inspection import show

    return _say_whether(*asyncio.run(show(settings)))


def _journal_accept(options: argparse.Namespace) -> ExitCode:
    settings = _prepare()

    import asyncio

    from web.journal_inspection import accept

    return _say_whether(*asyncio.run(accept(settings, recreate=options.recreate)))


def _reset_password(options: argparse.Namespace) -> ExitCode:
    settings = _prepare()

    import asyncio

    from web.administration import reset_password

    email: str = options.email
    password = asyncio.run(reset_password(settings, email))
    _say(f"The new password of {email} is: {password}")
    return ExitCode.DONE


def _listen(options: argparse.Namespace) -> ExitCode:
    import asyncio

    from web.listen import listen

    asyncio.run(listen(options))
    return ExitCode.DONE


def _version(_options: argparse.Namespace) -> ExitCode:
    _say(f"tingbro {VERSION}")
    return ExitCode.DONE


def _prepare(role: "Role | None" = None) -> "Settings":
    """The settings, read before anything heavy is imported, and logging as they say.

    What this process writes from here on is its owner's alone: the database holds secrets.
    """
    os.umask(0o077)
    from web.settings import read_settings

    settings = read_settings(os.environ, role)

    from web.logging import configure_logging

    configure_logging(settings.log)
    return settings


def _say_whether(is_well: bool, lines: Sequence[str]) -> ExitCode:
    for line in lines:
        _say(line)
    return ExitCode.DONE if is_well else ExitCode.FAILED


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _complain(first: str, *more: str) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in (f"tingbro: {first}", *more)))


if __name__ == "__main__":
    sys.exit(main())
