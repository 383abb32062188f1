"""
Many of Durus' own clients on one server, in threads: contention_bench.ts runs it.

    python contention_clients.py HOST:PORT setup CLIENTS
    python contention_clients.py HOST:PORT own FIRST COUNT SECONDS
    python contention_clients.py HOST:PORT small FIRST COUNT SECONDS SHARED
    python contention_clients.py HOST:PORT large COMMITS SHARED
    python contention_clients.py HOST:PORT stop

It prints one line of JSON: commits, attempts, seconds, and the longest that a
commit took with all its attempts.
"""
import json
import os
import random
import sys
import threading
import time

from durus.client_storage import ClientStorage
from durus.connection import Connection
from durus.error import ConflictError
from durus.persistent import Persistent
from durus.persistent_dict import PersistentDict
from durus.persistent_list import PersistentList

LARGE = 10_000_000


class Counter(Persistent):
    def __init__(self):
        self.value = 0


# The name under which every run of this program finds the class again.
sys.modules["contention_clients"] = sys.modules["__main__"]
Counter.__module__ = "contention_clients"


def connect(address):
    host, port = address.rsplit(":", 1)
    return Connection(ClientStorage(host=host, port=int(port)))


def setup(address, clients):
    connection = connect(address)
    root = connection.get_root()
    root["counters"] = PersistentList(Counter() for _ in range(clients))
    root["large"] = PersistentList([None])
    connection.commit()
    connection.get_storage().close()


class Worker(threading.Thread):
    def __init__(self, address, index, shared, large=False):
        super().__init__()
        self.connection = connect(address)
        self.commits = self.attempts = 0
        self.longest = 0.0
        self.error = None
        root = self.connection.get_root()
        self.counters = list(root["counters"])
        self.own = root["large"] if large else self.counters[index]
        self.shared = shared
        self.touch()

    def touch(self):
        """Has everybody's objects in hand, though the transactions use only some."""
        for counter in self.counters if self.shared else []:
            while True:
                self.connection.abort()
                try:
                    counter.value
                    break
                except ConflictError:
                    pass
        self.connection.abort()

    def commit(self, change):
        began = time.time()
        while True:
            change()
            self.attempts += 1
            try:
                self.connection.commit()
                break
            except ConflictError:
                self.connection.abort()
        self.commits += 1
        self.longest = max(self.longest, time.time() - began)

    def run(self):
        try:
            self.work()
        except Exception as error:
            self.error = "%s: %s" % (type(error).__name__, error)
        finally:
            try:
                self.connection.get_storage().close()
            except Exception:
                pass


class Small(Worker):
    def __init__(self, address, index, shared, until):
        super().__init__(address, index, shared)
        self.until = until

    def work(self):
        def change():
            own = random.choice(self.counters) if self.shared else self.own
            own.value += 1

        while time.time() < self.until[0]:
            self.commit(change)
            if self.shared and self.commits % 20 == 0:
                self.touch()


class Large(Worker):
    def __init__(self, address, shared, commits):
        super().__init__(address, 0, shared, large=True)
        self.count = commits

    def work(self):
        def change():
            if self.shared:
                self.touch()
            self.own[0] = data

        for _ in range(self.count):
            data = os.urandom(LARGE)
            self.commit(change)
            time.sleep(random.random() / 20)


def run(workers):
    began = time.time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(json.dumps({
        "commits": sum(w.commits for w in workers),
        "attempts": sum(w.attempts for w in workers),
        "longest": max(w.longest for w in workers),
        "seconds": time.time() - began,
        "errors": [w.error for w in workers if w.error],
    }), flush=True)


def ready(workers):
    """All are connected; the program that runs this one says when they begin."""
    print("ready", flush=True)
    sys.stdin.readline()
    return workers


def main(address, what, *args):
    if what == "setup":
        setup(address, int(args[0]))
    elif what == "large":
        run(ready([Large(address, args[1] == "1", int(args[0]))]))
    elif what == "stop":
        storage = ClientStorage(
            host=address.rsplit(":", 1)[0], port=int(address.rsplit(":", 1)[1])
        )
        storage.s.sendall(b"Q")
        storage.s.close()
    else:
        first, count, seconds = int(args[0]), int(args[1]), float(args[2])
        shared = what == "small" and args[3] == "1"
        until = [0]
        workers = ready([
            Small(address, first + i, shared, until) for i in range(count)
        ])
        until[0] = time.time() + seconds
        run(workers)


if __name__ == "__main__":
    main(*sys.argv[1:])
