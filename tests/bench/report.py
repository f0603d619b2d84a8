"""The table: what was measured beside its peer, and whether the target of DESIGN is met."""

import statistics


def number(value):
    """Three significant digits, in plain notation."""
    for limit, places in ((1, 3), (10, 2), (100, 1)):
        if abs(value) < limit:
            return f"{value:.{places}f}"
    return f"{value:,.0f}"


class Table:
    """Its lines are plain values, for JSON too. A figure is a number, or a median with its 90th percentile as
    launch.summary gives it; the median is what is judged."""

    def __init__(self):
        self.lines = []

    def limit(self, row, ours, unit, most):
        """A figure that may be at most so much by itself."""
        line = {"row": row, "unit": unit, "ours": ours, "target": f"≤ {most} {unit}"}
        self.lines.append({**line, "verdict": verdict(middle(ours), most)})

    def against(self, row, ours, unit, peer, theirs, most=None):
        """A figure beside a peer's; `most` is for their ratio, none if it is only told."""
        ratio = middle(ours) / middle(theirs)
        line = {"row": row, "unit": unit, "ours": ours, "peer": peer, "theirs": theirs, "ratio": ratio}
        target = "" if most is None else f"ratio ≤ {most}"
        self.lines.append({**line, "target": target, "verdict": verdict(ratio, most)})

    def rates(self, row, ours, unit, peer, theirs, least=None, ratio=None):
        """Samples of which more is better, beside a peer's: `least` is for their ratio. Nine of ten are at least what is
        called p90."""
        ours, theirs = rate_summary(ours), rate_summary(theirs)
        ratio = middle(ours) / middle(theirs) if ratio is None else ratio
        line = {"row": row, "unit": unit, "ours": ours, "peer": peer, "theirs": theirs, "ratio": ratio}
        target = "" if least is None else f"ratio ≥ {least}"
        # Turned round, so that more is worse as it is elsewhere.
        self.lines.append({**line, "target": target, "verdict": verdict(-ratio, None if least is None else -least)})

    def told(self, row, ours, unit):
        self.lines.append({"row": row, "unit": unit, "ours": ours, "target": "", "verdict": "told"})

    def text(self):
        rows = [("row", "ami-run", "peer", "", "ratio", "target", "")]
        for line in self.lines:
            ratio = number(line["ratio"]) if "ratio" in line else ""
            theirs = figure(line["theirs"], line["unit"]) if "theirs" in line else ""
            ours, peer = figure(line["ours"], line["unit"]), line.get("peer", "")
            rows.append((line["row"], ours, peer, theirs, ratio, line["target"], line["verdict"]))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(aligned(row, widths) for row in rows)


def rate_summary(samples):
    ordered = sorted(samples)
    return {"median": statistics.median(ordered), "p90": ordered[len(ordered) - (len(ordered) * 9 + 9) // 10]}


def cost_summary(samples):
    """Of samples of which less is better."""
    ordered = sorted(samples)
    return {"median": statistics.median(ordered), "p90": ordered[(len(ordered) * 9 + 9) // 10 - 1]}


def middle(value):
    return value["median"] if isinstance(value, dict) else value


def verdict(value, most):
    if most is None:
        return "told"
    return "met" if value <= most else "MISSED"


def figure(value, unit):
    p90 = f" (p90 {number(value['p90'])})" if isinstance(value, dict) else ""
    return f"{number(middle(value))} {unit}{p90}".replace("  ", " ")


def aligned(row, widths):
    """Words to the left, numbers to the right."""
    numbers = (1, 3, 4)
    cells = (
        cell.rjust(width) if column in numbers else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths))
    )
    return "  ".join(cells).rstrip()
