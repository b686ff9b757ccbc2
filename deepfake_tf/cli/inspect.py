"""`deepfake-tf inspect`: what files say of their own origin."""

from __future__ import annotations

import argparse

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from deepfake_tf.cli.paths import expand_paths
from deepfake_tf.cli.terminal import say_unexpected, write_data
from deepfake_tf.text import json_text


def add(commands: Commands) -> None:
    command = add_command(
        commands, "inspect", run, "Report what files say of their own origin: Content Credentials, metadata."
    )
    command.add_argument("paths", nargs="+", metavar="PATH")
    command.add_argument("--format", choices=("table", "json"), default="table")
    command.add_argument("--trust-list", metavar="PEM", help="certificates of signers to trust (C2PA)")
    command.add_argument("--fetch-remote", action="store_true", help="fetch manifests that a file only points to")


def run(options: argparse.Namespace) -> int:
    from deepfake_tf import provenance
    from deepfake_tf.provenance.content_credentials import check_trust_list

    check_trust_list(options.trust_list)
    reports = [
        provenance.inspect(path, trust_list=options.trust_list, fetch_remote=options.fetch_remote)
        for path in expand_paths(options.paths)
    ]
    if options.format == "json":
        write_data(json_text([report.to_dict() for report in reports], indent=2) + "\n")
    else:
        print(provenance.format_table(reports))
    say_unexpected(report.error for report in reports)
    return EXIT_SOME_FAILED if any(report.error for report in reports) else EXIT_OK
