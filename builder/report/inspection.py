"""What `build inspect` found: as text, as JSON, and as SARIF 2.1.0 for code scanning."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from typing import Any
from urllib.parse import quote

import builder
from builder.guest.inspection.mending import Mended
from builder.guest.inspection.rules import RULES, DiskFinding, Inspection
from builder.guest.inspection.tables import Severity
from builder.report.diagnostics import SARIF_SCHEMA

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


def as_text(inspection: Inspection, mended: Mended | None = None) -> str:
    """For people: whether it is ready, what it is, and every finding with its reason and remedy."""
    lines = [_verdict(inspection)]
    width = max((len(name) for name in inspection.facts), default=0)
    lines += [f"  {name:<{width}}  {value}" for name, value in inspection.facts.items()]
    lines += [f"  not looked at: {what}" for what in inspection.left_out]
    for finding in inspection.findings:
        lines += ["", *_finding(finding)]
    if mended is not None:
        lines += ["", *_mended(mended)]
    return "".join(f"{printable(line)}\n" for line in lines)


def _verdict(inspection: Inspection) -> str:
    counts = ", ".join(_plural(inspection.count(name), name) for name in SEVERITIES if inspection.count(name))
    if not inspection.ready:
        word = "not ready for Azure"
    elif inspection.left_out:
        word = "nothing found against it, but not everything was looked at"
    else:
        word = "ready for Azure"
    return f"{inspection.disk}: {word}" + (f" ({counts})" if counts else "")


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _finding(finding: DiskFinding) -> list[str]:
    rule = RULES[finding.rule]
    mends = f" (--fix {finding.mends})" if finding.mends else ""
    return [
        f"{rule.severity}[{rule.id}] {finding.place}: {finding.message}",
        *(f"    | {line}" for text in finding.lines for line in text.splitlines()),
        f"    why:  {rule.why}",
        f"    mend: {finding.to_do()}{mends}",
    ]


def _mended(mended: Mended) -> list[str]:
    lines = [f"{mended.path}: a mended copy" if mended.mended else f"{mended.path}: a copy; nothing was mended"]
    lines += [f"  mended    {item.rule}: {item.message}" for item in mended.mended]
    for item, why in mended.failed:
        lines += [
            f"  failed    {item.rule}: {why.splitlines()[0]}",
            *(f"    | {line}" for line in why.splitlines()[1:]),
        ]
    after = mended.inspection
    lines += [f"  remains   {item.severity}[{item.rule}] {item.place}: {item.message}" for item in after.findings]
    return [*lines, _verdict(after)]


def printable(line: str) -> str:
    """The line without what could drive a terminal: paths and names are the disk's."""
    return line if line.isprintable() else "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)


def as_json(inspection: Inspection, mended: Mended | None = None) -> str:
    """For programs: `disk`, `ready`, `facts`, `left_out` and `findings`; `fixed` is the same of a mended copy."""
    document = _document(inspection)
    if mended is not None:
        document["fixed"] = {
            **_document(mended.inspection),
            "mended": [item.rule for item in mended.mended],
            "failed": [{"rule": item.rule, "why": why} for item, why in mended.failed],
        }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _document(inspection: Inspection) -> dict[str, Any]:
    return {
        "disk": inspection.disk,
        "ready": inspection.ready,
        "facts": dict(inspection.facts),
        "left_out": list(inspection.left_out),
        "findings": [
            {
                "rule": item.rule,
                "severity": item.severity,
                "place": item.place,
                "message": item.message,
                "lines": list(item.lines),
                "why": RULES[item.rule].why,
                "remedy": item.to_do(),
                "fixable": item.mendable,
            }
            for item in inspection.findings
        ],
    }


def as_sarif(inspection: Inspection) -> str:
    """A SARIF 2.1.0 log with the disk's file as the place; where in the disk is a logical location."""
    names = sorted({item.rule for item in inspection.findings})
    driver = {
        "name": "build",
        "version": builder.__version__,
        "rules": [_sarif_rule(name) for name in names],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {"level": "warning", "message": {"text": f"not looked at: {what}"}} for what in inspection.left_out
                ],
            }
        ],
        "results": [
            _sarif_result(inspection, item, names.index(item.rule), fingerprint)
            for item, fingerprint in zip(inspection.findings, _fingerprints(inspection), strict=True)
        ],
    }
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _sarif_rule(name: str) -> dict[str, Any]:
    rule = RULES[name]
    return {
        "id": name,
        "name": "".join(word.capitalize() for word in name.split("-")),
        "shortDescription": {"text": rule.what},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": rule.severity},
    }


def _fingerprints(inspection: Inspection) -> list[str]:
    """What each finding is recognized by in later reports; no two of one report are equal."""
    seen: Counter[str] = Counter()
    found = []
    for item in inspection.findings:
        # A size, a count or a UUID changes while the finding stays the same one
        words = " ".join(word for word in item.message.split() if not any(sign.isdigit() for sign in word))
        key = f"{item.rule}\0{inspection.disk}\0{item.place}\0{words}"
        seen[key] += 1
        found.append(hashlib.sha256(f"{key}\0{seen[key]}".encode(errors="surrogateescape")).hexdigest()[:32])
    return found


def _sarif_result(inspection: Inspection, item: DiskFinding, rule: int, fingerprint: str) -> dict[str, Any]:
    text = "\n".join([f"{item.place}: {item.message}", *item.lines, item.to_do()])
    return {
        "ruleId": item.rule,
        "ruleIndex": rule,
        "level": item.severity,
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": quote(os.fsencode(inspection.disk))}},
                "logicalLocations": [{"fullyQualifiedName": item.place}],
            }
        ],
        "partialFingerprints": {"finding/v2": fingerprint},
    }
