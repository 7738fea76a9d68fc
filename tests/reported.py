"""What two runs' reports are compared by."""

import json


def without_times(report):
    """Return a report's numbers but for seconds, and for where they were spent."""
    report = json.loads(json.dumps(report))
    report.pop("profile", None)
    for part in (report["cost"], *report.get("courses", ())):
        part.pop("wall_s")
    for each in (*report.get("candidates", ()), *report.get("growing", {}).get("baselines", ())):
        each.pop("wall_s", None)
    return report
