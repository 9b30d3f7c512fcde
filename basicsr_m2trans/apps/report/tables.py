"""Results as tables: Markdown and LaTeX as in the paper (Tables I and II), and CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from basicsr_m2trans.apps.report.complexity import Complexity, markdown_rows
from basicsr_m2trans.apps.report.summary import CONFIDENCE, Cell, Difference, Key
from basicsr_m2trans.apps.report.training import Trained
from basicsr_m2trans.evaluation.protocols import LOWER_IS_BETTER, METRICS, PROTOCOLS
from basicsr_m2trans.utils.csv_file import csv_text

DIGITS = {"psnr": 2, "ssim": 4, "fsim": 4, "gmsd": 4}
# Tables I and II of the paper.
METRIC_PAIRS = (("psnr", "ssim"), ("fsim", "gmsd"))


@dataclass
class Table:
    """Text in rows and columns.

    Attributes:
        title, header: what stands above.
        rows: the cells.
        ranks: 1 for the best and 2 for the second-best cell of a comparison, by row and column.
    """

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    ranks: dict[tuple[int, int], int] = field(default_factory=dict)

    def markdown(self) -> str:
        """The table in Markdown: best bold, second-best underlined."""
        marks = {1: "**{}**", 2: "<u>{}</u>"}
        lines = [self.header, ["---"] * len(self.header), *self._marked(self.rows, marks)]
        return f"### {self.title}\n\n{markdown_rows(lines)}\n"

    def latex(self) -> str:
        """A `table` environment in plain LaTeX: best bold, second-best underlined."""
        marks = {1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}
        header, *rows = [[_escape(cell) for cell in row] for row in (self.header, *self.rows)]
        body = [" & ".join(row) + r" \\" for row in (header, *self._marked(rows, marks))]
        lines = [
            r"\begin{table}",
            rf"\caption{{{_escape(self.title)}}}",
            rf"\begin{{tabular}}{{{'l' * len(header)}}}",
            r"\hline",
            body[0],
            r"\hline",
            *body[1:],
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def _marked(self, rows: list[list[str]], marks: Mapping[int, str]) -> list[list[str]]:
        return [
            [marks.get(self.ranks.get((i, j), 0), "{}").format(cell) for j, cell in enumerate(row)]
            for i, row in enumerate(rows)
        ]


# In one pass, so that the braces of a command are not escaped again.
_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
    }
)


def _escape(text: str) -> str:
    return text.translate(_LATEX)


def result_tables(
    cells: Mapping[Key, Cell],
    counts: Mapping[tuple[str, int], Complexity],
    trained: Mapping[tuple[str, int, int], Trained],
    reference: str,
) -> list[Table]:
    """All tables of a comparison: values and differences under each protocol, then trainings.

    Args:
        cells: as `summary.summarise` returns them; scales, methods and test sets keep their order.
        counts: by method and scale.
        trained: by method, scale and seed.
        reference: the method of which the others are subtracted.
    """
    tables = []
    for protocol in PROTOCOLS:
        for metrics in METRIC_PAIRS:
            tables.append(_values(cells, counts, protocol, metrics))
        differences = _differences(cells, protocol, reference)
        if differences.rows:
            tables.append(differences)
    header = ["scale", "method", "seed", "iterations", "minutes in training steps"]
    rows = [
        [f"x{scale}", method, str(seed), f"{run.iterations:,}", f"{run.seconds / 60:.1f}"]
        for (method, scale, seed), run in trained.items()
    ]
    return [*tables, Table("Training", header, rows)] if rows else tables


def _values(
    cells: Mapping[Key, Cell],
    counts: Mapping[tuple[str, int], Complexity],
    protocol: str,
    metrics: Sequence[str],
) -> Table:
    rows = list(dict.fromkeys((scale, method) for scale, method, *_ in cells))
    tests = list(dict.fromkeys(test for _, _, test, *_ in cells))
    columns = [(metric, test) for metric in metrics for test in tests]
    heading = " and ".join(metric.upper() for metric in metrics)
    header = ["scale", "method", "parameters (M)", "GMACs"]
    for metric, test in columns:
        header.append(f"{metric.upper()} {'↓' if metric in LOWER_IS_BETTER else '↑'} {test}")
    table = Table(f"{heading}, protocol '{protocol}'", header)
    for scale, method in rows:
        size = counts[method, scale].texts
        values = [
            _cell_text(cells.get((scale, method, test, protocol, metric)), metric)
            for metric, test in columns
        ]
        table.rows.append([f"x{scale}", method, *size, *values])
    for column, (metric, test) in enumerate(columns, start=4):
        for scale in dict.fromkeys(scale for scale, _ in rows):
            found = {
                index: cells[scale, method, test, protocol, metric].mean
                for index, (row_scale, method) in enumerate(rows)
                if row_scale == scale and (scale, method, test, protocol, metric) in cells
            }
            order = sorted(found, key=found.__getitem__, reverse=metric not in LOWER_IS_BETTER)
            table.ranks |= {(index, column): rank for rank, index in enumerate(order[:2], start=1)}
    return table


def _cell_text(cell: Cell | None, metric: str) -> str:
    if cell is None:
        return "-"
    digits = DIGITS[metric]
    spread = "" if cell.deviation is None else f" ± {cell.deviation:.{digits}f}"
    return f"{cell.mean:.{digits}f}{spread}"


def _differences(cells: Mapping[Key, Cell], protocol: str, reference: str) -> Table:
    title = (
        f"{reference} minus the others, with {CONFIDENCE:.0%} bootstrap intervals over images, and "
        f"on how many of the images it is better, protocol '{protocol}'"
    )
    table = Table(title, ["scale", "test set", "method", *(metric.upper() for metric in METRICS)])
    for scale, method, test in dict.fromkeys(key[:3] for key in cells):
        texts = [
            _difference_text(difference, metric)
            for metric in METRICS
            if (difference := cells[scale, method, test, protocol, metric].difference)
        ]
        if len(texts) == len(METRICS):
            table.rows.append([f"x{scale}", test, method, *texts])
    return table


def _difference_text(difference: Difference, metric: str) -> str:
    digits = DIGITS[metric]
    interval = f"{difference.low:+.{digits}f}, {difference.high:+.{digits}f}"
    return f"{difference.mean:+.{digits}f} ({interval}), {difference.better:.0%}"


def results_csv(cells: Mapping[Key, Cell], reference: str) -> str:
    """One line for each scale, method, test set, protocol and metric; numbers in full."""
    header = ["scale", "method", "test", "protocol", "metric"]
    header += ["mean", "deviation", "seeds", "images"]
    header += [f"{reference}_minus_method", "low", "high", "better"]
    rows: list[list[Any]] = []
    for key, cell in cells.items():
        difference = astuple(cell.difference) if cell.difference else (None,) * 4
        rows.append([*key, cell.mean, cell.deviation, cell.seeds, cell.images, *difference])
    return csv_text([header, *rows])
