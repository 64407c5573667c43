# SPDX-License-Identifier: Apache-2.0
# The bench's Python programs: numbers, objects, dictionaries, strings, sorting, regular expressions,
# JSON. usage: prog.py ROUNDS      prints one checksum line for each.
import json
import re
import sys


def nbody(n):
    bodies = [[0.0, 0.0, 0.0, 0.0, 39.47], [4.84, -1.16, 0.6, 2.81, 0.037], [8.34, 4.12, -1.01, 1.82, 0.011]]
    for _ in range(n):
        for i, a in enumerate(bodies):
            for b in bodies[i + 1:]:
                dx, dy = a[0] - b[0], a[1] - b[1]
                mag = 0.001 / (dx * dx + dy * dy + 0.01) ** 1.5
                a[2] -= dx * b[4] * mag
                a[3] -= dy * b[4] * mag
                b[2] += dx * a[4] * mag
                b[3] += dy * a[4] * mag
        for b in bodies:
            b[0] += 0.001 * b[2]
            b[1] += 0.001 * b[3]
    return repr(bodies[1])


class Account:
    def __init__(self, name, balance):
        self.name = name
        self.balance = balance

    def move(self, other, amount):
        if self.balance >= amount:
            self.balance -= amount
            other.balance += amount
        return self.balance


def objects(n):
    accounts = [Account(f"a{i}", 1000 + i) for i in range(50)]
    state = 1
    for _ in range(n):
        state = (state * 1103515245 + 12345) % 2**31
        accounts[state % 50].move(accounts[state // 64 % 50], state % 97)
    return sum(i * a.balance for i, a in enumerate(accounts))


def words(n):
    text = " ".join(f"word{i * i % 997} {i % 13}" for i in range(n))
    count = {}
    for w in text.split():
        count[w] = count.get(w, 0) + 1
    best = sorted(count.items(), key=lambda p: (-p[1], p[0]))[:20]
    found = re.findall(r"word(\d+)9 (1[0-2]|[3-5])", text)
    return best, len(found), text.upper().count("WORD12")


def sieve(n):
    flags = bytearray([1]) * n
    for i in range(2, int(n**0.5) + 1):
        if flags[i]:
            flags[i * i::i] = bytes(len(flags[i * i::i]))
    return sum(1 for f in flags if f) - 2


def queens(n):
    def place(row, cols, d1, d2):
        if row == n:
            return 1
        return sum(place(row + 1, cols | {c}, d1 | {c + row}, d2 | {c - row}) for c in range(n)
                   if c not in cols and c + row not in d1 and c - row not in d2)
    return place(0, frozenset(), frozenset(), frozenset())


def documents(n):
    doc = [{"id": i, "name": f"n{i}", "tags": ["x", "y" * (i % 7)], "v": i / 3} for i in range(n)]
    return len(json.dumps(json.loads(json.dumps(doc)), sort_keys=True))


rounds = int(sys.argv[1])
print(nbody(700 * rounds), objects(5000 * rounds), words(2000 * rounds), sieve(20000 * rounds),
      queens(6), documents(150 * rounds))
