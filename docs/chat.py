"""Records a chat with the real program and draws it: `cargo build --release && python3 docs/chat.py`.

Runs `lowbit run MODEL` in a pseudo-terminal, types what `LINES` says, and writes `chat.svg` beside this file: every run of
characters appears when the program wrote it (pauses are cut to `LONGEST_PAUSE`), and a viewer without animation shows the
last state. Nothing but the standard library is used.

    python3 docs/chat.py [MODEL] [PROGRAM]
"""

import codecs
import fcntl
import html
import os
import pathlib
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

LINES = [
    "What is the capital of France?",
    "Name one famous building there, in one sentence.",
]
OPTIONS = ["--temp", "0", "-n", "80"]
COLUMNS = 90
QUIET_S = 4.0  # without output for so long, the program waits for a line
KEY_S = 0.04
LONGEST_PAUSE = 0.7

CELL_W, CELL_H, PAD, TOP = 8.4, 19, 16, 44
COLORS = "#586069 #f97583 #85e89d #ffea7f #79b8ff #b392f0 #73e3ff #d1d5da".split()

PLAIN = (None, False, False)  # color, bold, dim


class Screen:
    """A terminal as far as a line editor and a stream of text need one; rows are never scrolled away."""

    def __init__(self):
        self.rows, self.row, self.col, self.style, self.rest = [{}], 0, 0, PLAIN, ""
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, data, now):
        text = self.rest + self.decode(data)
        self.rest = ""
        while text:
            escape = re.match(r"\x1b(?:\[([?0-9;]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()].|[=>78M])", text)
            if escape:
                if escape[2]:
                    self.control(escape[1], escape[2])
                text = text[escape.end() :]
            elif text[0] == "\x1b":
                if len(text) < 32:  # the rest of it comes with the next read
                    self.rest = text
                    return
                text = text[1:]
            else:
                self.put(text[0], now)
                text = text[1:]

    def put(self, char, now):
        if char == "\r":
            self.col = 0
        elif char == "\n":
            self.down(1)
        elif char == "\b":
            self.col = max(0, self.col - 1)
        elif char >= " ":
            if self.col == COLUMNS:
                self.col = 0
                self.down(1)
            cells = self.rows[self.row]
            # A line editor writes its line again at every key: what is the same stays as old as it is.
            if cells.get(self.col, (None,))[:2] != (char, self.style):
                cells[self.col] = (char, self.style, now)
            self.col += 1

    def down(self, count):
        self.row += count
        while len(self.rows) <= self.row:
            self.rows.append({})

    def control(self, arguments, final):
        if arguments.startswith("?"):
            return
        numbers = [int(n or 0) for n in arguments.split(";")] if arguments else [0]
        count = max(1, numbers[0])
        if final == "m":
            for n in numbers:
                color, bold, dim = self.style
                plain = {0: PLAIN, 1: (color, True, dim), 2: (color, bold, True), 22: (color, False, False), 39: (None, bold, dim)}
                colored = 30 <= n <= 37 or 90 <= n <= 97
                self.style = (n % 10, bold, dim) if colored else plain.get(n, self.style)
        elif final == "A":
            self.row = max(0, self.row - count)
        elif final == "B":
            self.down(count)
        elif final == "C":
            self.col = min(COLUMNS, self.col + count)
        elif final == "D":
            self.col = max(0, self.col - count)
        elif final == "G":
            self.col = count - 1
        elif final in "KJ":
            keep = {0: lambda c: c < self.col, 1: lambda c: c > self.col}.get(numbers[0], lambda c: False)
            self.rows[self.row] = {c: cell for c, cell in self.rows[self.row].items() if keep(c)}
            if final == "J":
                del self.rows[self.row + 1 :]


def record(program, model):
    """The screen after a chat; the times in its cells are seconds with pauses cut."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LANG="C.UTF-8")
        os.execv(program, [program, "run", model, *OPTIONS])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    screen, clock, last = Screen(), 0.0, time.monotonic()

    def read(patience):
        """Feeds what comes within `patience` seconds; false if nothing did, None at the end."""
        nonlocal clock, last
        if not select.select([terminal], [], [], patience)[0]:
            return False
        try:
            data = os.read(terminal, 4096)
        except OSError:
            return None
        now = time.monotonic()
        clock += min(now - last, LONGEST_PAUSE)
        last = now
        screen.feed(data, clock)
        return True if data else None

    for line in LINES:
        while (state := read(QUIET_S)) is True:
            pass
        if state is None:
            sys.exit("the program ended before the chat did")
        for key in line + "\r":
            os.write(terminal, key.encode())
            until = time.monotonic() + KEY_S
            while (left := until - time.monotonic()) > 0:
                read(left)
    while read(QUIET_S):
        pass
    os.kill(pid, signal.SIGHUP)
    os.waitpid(pid, 0)
    return screen


def draw(rows, title):
    while rows and not any(char != " " for char, *_ in rows[-1].values()):
        rows.pop()
    if rows and "".join(rows[-1][c][0] for c in sorted(rows[-1])).strip() in (">", ">>>", "›"):
        rows.pop()  # the prompt that waits for a line that never comes
    width, height = COLUMNS * CELL_W + 2 * PAD, len(rows) * CELL_H + TOP + PAD
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{html.escape(title)}</title>",
        "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#e1e4e8;white-space:pre}",
        ".r{animation:s .01s both}@keyframes s{from{opacity:0}}@media(prefers-reduced-motion){.r{animation:none}}",
        ".b{font-weight:bold}.d{fill-opacity:.6}" + "".join(f".c{i}{{fill:{c}}}" for i, c in enumerate(COLORS)) + "</style>",
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="#1f2428"/>',
        "".join(f'<circle cx="{20 + 18 * i}" cy="20" r="5.5" fill="{c}"/>' for i, c in enumerate(["#f97583", "#ffea7f", "#85e89d"])),
        f'<text x="{width / 2:.0f}" y="24" text-anchor="middle" class="d">{html.escape(title)}</text>',
    ]
    for index, cells in enumerate(rows):
        for start, text, (color, bold, dim), at in runs(cells):
            classes = ["r"] + ["b"] * bold + ["d"] * dim + ([f"c{color}"] if color is not None else [])
            x, y, length = PAD + start * CELL_W, TOP + index * CELL_H + 14, len(text) * CELL_W
            out.append(
                f'<text class="{" ".join(classes)}" x="{x:.1f}" y="{y}" textLength="{length:.1f}" '
                f'style="animation-delay:{at:.2f}s">{html.escape(text, quote=False)}</text>'
            )
    return "\n".join(out) + "\n</svg>\n"


def runs(cells):
    """Neighbouring cells of one style and time as (column, text, style, time), spaces at both ends left out."""
    found = []
    for column in sorted(cells):
        char, style, at = cells[column]
        if found and found[-1][0] + len(found[-1][1]) == column and found[-1][2:] == (style, at):
            found[-1] = (found[-1][0], found[-1][1] + char, style, at)
        else:
            found.append((column, char, style, at))
    for column, text, style, at in found:
        bare = text.strip(" ")
        if bare:
            yield column + len(text) - len(text.lstrip(" ")), bare, style, at


def main():
    here = pathlib.Path(__file__).resolve().parent
    model = sys.argv[1] if len(sys.argv) > 1 else "smollm2"
    target = os.environ.get("CARGO_TARGET_DIR", here.parent / "target")
    program = sys.argv[2] if len(sys.argv) > 2 else f"{target}/release/lowbit"
    screen = record(program, model)
    (here / "chat.svg").write_text(draw(screen.rows, f"lowbit run {pathlib.Path(model).stem}"))


main()
