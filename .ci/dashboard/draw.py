"""A picture of the dashboard: its panels with what their queries gave, in the layout that Grafana has."""

import html
import math
import time

COLUMN, ROW, GAP, HEAD = 58, 26, 8, 64
COLOURS = ["#1a7f37", "#bf8700", "#0969da", "#cf222e", "#8250df", "#1b7c83", "#bc4c00", "#6e7781", "#a475f9", "#4d2d00"]
LEGEND_ROW, MOST_IN_LEGEND = 14, 6


def text(x, y, words, **attributes):
    given = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:g}" y="{y:g}"{given}>{html.escape(words)}</text>'


def number(value, unit):
    """As Grafana writes it, more or less."""
    if unit == "s":
        if abs(value) >= 60 or value == 0:
            return f"{value / 60:.3g} min" if value else "0 s"
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    return f"{value:.3g}" + (" /s" if unit == "reqps" else "")


def ceiling(value):
    """The least round number that is not below."""
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999)


def curve(points, place):
    """One line for each time without a gap."""
    parts, last = [], None
    for at, value in points:
        x, y = place(at, value)
        parts.append(f"{'L' if last is not None and at - last < 3 else 'M'}{x:.1f} {y:.1f}")
        last = at
    return " ".join(parts)


def chart(panel, box, span):
    x, y, width, height = box
    unit = panel["fieldConfig"]["defaults"]["unit"]
    series = sorted((one for one in panel["series"] if one[1]), key=lambda one: -max(value for _, value in one[1]))
    values = [value for _, points in series for _, value in points]
    top = ceiling(max(values))
    low = 0.0 if min(values) >= 0 else -ceiling(-min(values))
    left, right, upper = x + 62, x + width - 12, y + 32
    lower = y + height - 26 - LEGEND_ROW * math.ceil(min(len(series), MOST_IN_LEGEND) / 2)

    def place(at, value):
        return (
            left + (right - left) * (at - span[0]) / (span[1] - span[0]),
            lower - (lower - upper) * (value - low) / (top - low),
        )

    out = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="#ffffff" stroke="#d0d7de"/>']
    out.append(text(x + 10, y + 18, panel["title"], font_weight="bold"))
    for step in range(3):
        value = low + (top - low) * step / 2
        tick = place(span[0], value)[1]
        out.append(f'<path d="M{left} {tick:.1f}H{right}" stroke="#eaeef2"/>')
        out.append(text(left - 6, tick + 4, number(value, unit), text_anchor="end", fill="#57606a", font_size=10))
    for part in (0, 0.5, 1):
        at = span[0] + (span[1] - span[0]) * part
        anchor = {0: "start", 0.5: "middle", 1: "end"}[part]
        label = time.strftime("%H:%M:%S", time.gmtime(at))
        out.append(text(place(at, low)[0], lower + 14, label, text_anchor=anchor, fill="#57606a", font_size=10))
    for index, (name, points) in enumerate(series):
        colour = COLOURS[index % len(COLOURS)]
        out.append(f'<path d="{curve(points, place)}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
    for index, (name, _) in enumerate(series[:MOST_IN_LEGEND]):
        across = x + 12 + (index % 2) * (width - 20) / 2
        down = lower + 30 + LEGEND_ROW * (index // 2)
        more = f" and {len(series) - MOST_IN_LEGEND} more" if index == MOST_IN_LEGEND - 1 and len(series) > MOST_IN_LEGEND else ""
        most = int((width - 50) / 2 / 5.2) - len(more)
        name = name if len(name) <= most else name[: most - 1] + "…"
        out.append(f'<path d="M{across:g} {down - 4:g}h10" stroke="{COLOURS[index % len(COLOURS)]}" stroke-width="3"/>')
        out.append(text(across + 14, down, name + more, font_size=10))
    return out


def picture(panels, span):
    width = 24 * COLUMN + GAP
    height = HEAD + GAP + max((place["y"] + place["h"]) * ROW for place in (panel["gridPos"] for panel in panels))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#24292f" role="img" aria-label="The dashboard">',
        "<title>The panels of deploy/grafana/rejoin.json, drawn from a run against the simulator</title>",
        f'<rect width="{width}" height="{height}" fill="#f6f8fa"/>',
        text(GAP + 4, 26, "rejoin", font_size=18, font_weight="bold"),
        text(
            GAP + 4,
            48,
            f"{span[1] - span[0]:.0f} s of twelve simulated players, scraped every second by Prometheus; drawn by .ci/alarms, not by Grafana.",
            fill="#57606a",
        ),
    ]
    for panel in panels:
        place = panel["gridPos"]
        x, y = GAP + place["x"] * COLUMN, HEAD + place["y"] * ROW
        if panel["type"] == "row":
            out.append(text(x + 4, y + 19, panel["title"], font_size=14, font_weight="bold"))
        else:
            out += chart(panel, (x, y, place["w"] * COLUMN - GAP, place["h"] * ROW - GAP), span)
    return "\n".join([*out, "</svg>"]) + "\n"
