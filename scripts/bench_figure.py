"""What a figure is: the values of its runs, what they are held against, a line of the table and an entry of the JSON."""
import statistics


class Figure:
    """`bar` is a ratio to the peer's median where there is a peer, else a value in `unit`; with `absolute` it is a value although there is
    a peer, which then only stands beside. `judge` makes one number of the runs' values: what the bar is held to, and the ratio. No values:
    the figure could not be had, and `note` says why."""

    def __init__(self, name, unit, values, bar=None, peer=None, peer_values=None, at_most=False, note="", absolute=False, judge=statistics.median):
        self.name, self.unit, self.values, self.bar = name, unit, list(values), bar
        self.peer, self.peer_values, self.at_most, self.note = peer, list(peer_values or []), at_most, note
        self.absolute, self.judge = absolute, judge

    def row(self):
        row = {"figure": self.name, "unit": self.unit, "min": None, "median": None, "max": None, "peer": self.peer, "peer_median": None, "ratio": None,
               "bar": self.bar, "met": None, "values": self.values, "peer_values": self.peer_values, "note": self.note}
        if self.peer_values:
            row["peer_median"] = self.judge(self.peer_values)
        if not self.values:
            return row
        value = self.judge(self.values)
        row.update(min=min(self.values), median=statistics.median(self.values), max=max(self.values))
        if row["peer_median"]:
            row["ratio"] = value / row["peer_median"]
        measured = value if self.absolute or row["ratio"] is None else row["ratio"]
        if self.bar is not None:
            row["met"] = measured <= self.bar if self.at_most else measured >= self.bar
        return row

    def line(self):
        row = self.row()
        as_ratio = row["ratio"] is not None and not self.absolute
        bar = "" if self.bar is None else f"{'<=' if self.at_most else '>='} {self.bar:g}{' x' if as_ratio else ''}"
        verdict = {None: "" if self.values else "not available: " + self.note, True: "met", False: "MISSED"}[row["met"]]
        peer = f"{row['peer']} {row['peer_median']:.4g}" if row["peer_median"] is not None else (row["peer"] or "")
        ratio = f"{row['ratio']:.2f} x" if row["ratio"] is not None else ""
        numbers = [f"{row[key]:>9.4g}" if row[key] is not None else f"{'-':>9}" for key in ("min", "median", "max")]
        return f"{row['figure']:<34} {row['unit']:<6} {' '.join(numbers)}  {peer:<28} {ratio:>7}  {bar:<11} {verdict}".rstrip()


HEAD = f"{'figure':<34} {'unit':<6} {'min':>9} {'median':>9} {'max':>9}  {'beside':<28} {'ratio':>7}  bar"
