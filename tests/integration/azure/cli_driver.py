"""Runs azure-cli commands in one process of its own Python: a JSON list of arguments a line, an answer a line."""

import io
import json
import sys

from azure.cli.core import get_default_cli


def main() -> None:
    for line in sys.stdin:
        output = io.StringIO()
        cli = get_default_cli()
        try:
            code = cli.invoke([*json.loads(line), "--output", "json"], out_file=output)
        except SystemExit as end:
            code = end.code
        error = str(cli.result.error) if cli.result and cli.result.error else ""
        print(json.dumps({"code": code, "output": output.getvalue(), "error": error}), flush=True)


if __name__ == "__main__":
    main()
