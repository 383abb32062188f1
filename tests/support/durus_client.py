"""
Drives a storage server with Durus' own client.

    python durus_client.py storages|work|check|readonly|plant|graft|stop HOST:PORT|PATH [SEED]
"""
import sys
import time
from random import Random

from durus.__main__ import stop_durus
from durus.btree import BTree
from durus.client_storage import ClientStorage
from durus.connection import Connection
from durus.error import ConflictError, DurusKeyError, ProtocolError
from durus.error import ReadConflictError, WriteConflictError
from durus.persistent import Persistent
from durus.persistent_dict import PersistentDict
from durus.persistent_list import PersistentList
from durus.serialize import pack_record
from durus.utils import int8_to_str

# Durus compresses what it stores; this stays as large as it is.
LARGE = Random(1).randbytes(3000000)


class Account(Persistent):
    pass


def step(name):
    print(name, flush=True)


def raises(error, function, *args):
    try:
        function(*args)
    except error as caught:
        return caught
    raise AssertionError("%r was not raised" % error)


def storages(address):
    """Bytes and oids, with no connection."""
    one = ClientStorage(address=address)
    two = ClientStorage(address=address)
    first = one.new_oid()
    assert first == int8_to_str(0), first
    second, third = one.new_oid(), one.new_oid()
    raises(KeyError, one.load, first)
    records = {
        oid: pack_record(oid, data, b"")
        for oid, data in ((first, b"root"), (second, b"other"))
    }
    for oid, record in records.items():
        one.begin()
        one.store(oid, record)
        one.end()
    assert one.load(first) == records[first]
    assert one.sync() == []
    assert list(one.bulk_load([second, first])) == [records[second], records[first]]
    # The missing one comes last, since Durus leaves the answers after it unread.
    raises(DurusKeyError, list, one.bulk_load([first, second, third]))
    assert one.load(second) == records[second]
    assert [oid for oid, _ in one.gen_oid_record()] == [first]
    step("stored")

    raises(ReadConflictError, two.load, first)
    raises(ReadConflictError, two.load, first)
    assert set(two.sync()) == {first, second}
    assert two.load(first) == records[first]
    assert two.new_oid() not in (first, second, third)
    step("synced")

    # Another client's unused oid is refused, by closing the connection.
    two.begin()
    two.store(third, pack_record(third, b"stolen", b""))
    raises(Exception, two.end)
    assert one.sync() == []
    step("refused")
    one.close()


def empty(address):
    """Leaves a database as an empty one: a PersistentDict for a root."""
    storage = ClientStorage(address=address)
    connection = Connection(storage)
    other = Connection(ClientStorage(address=address))
    root = connection.get_root()
    assert root is connection.get(0)
    assert isinstance(root, PersistentDict), root
    assert isinstance(other.get_root(), PersistentDict)
    return connection, other


def work(address):
    connection, other = empty(address)
    root = connection.get_root()
    root["dict"] = PersistentDict(a=1, b="zwei")
    root["list"] = PersistentList(range(10))
    root["tree"] = BTree()
    for i in range(3000):
        account = Account()
        account.owner = "owner %s" % i
        account.balance = i
        root["tree"][i] = account
    root["large"] = LARGE
    connection.commit()
    step("committed")

    other.abort()
    verify(other)
    step("read back")

    # Two clients change the same object: the second one has a conflict.
    other.abort()
    root["dict"]["a"] = 2
    other.get_root()["dict"]["a"] = 3
    other.get_root()["dict"]["c"] = PersistentDict()
    connection.commit()
    raises(WriteConflictError, other.commit)
    connection.abort()
    assert connection.get_root()["dict"]["a"] == 2
    other.abort()
    assert other.get_root()["dict"]["a"] == 2
    assert "c" not in other.get_root()["dict"]
    other.get_root()["dict"]["a"] = 3
    other.commit()
    connection.abort()
    assert root["dict"]["a"] == 3
    step("conflict")

    # Changes of others that do not matter to a transaction do not stop it.
    other.get_root()["tree"][5].balance = 500
    other.commit()
    root["list"].append("more")
    connection.commit()
    other.abort()
    assert other.get_root()["list"][10] == "more"
    assert root["tree"][5].balance == 500
    step("no conflict")

    # A dropped object goes away with a pack, and what is left stays.
    gone = root["dict"]._p_oid
    root["dict"] = PersistentDict(a=1, b="zwei")
    del root["list"][10]
    root["tree"][5].balance = 5
    connection.commit()
    connection.pack()
    deadline = time.time() + 30
    while time.time() < deadline:
        late = ClientStorage(address=address)
        try:
            late.load(gone)
        except DurusKeyError:
            break
        except ReadConflictError:
            pass  # It came just before the end of the pack.
        finally:
            late.close()
        time.sleep(0.02)
    else:
        raise AssertionError("the pack did not drop the object")
    connection.abort()
    verify(connection)
    for i in range(100):
        root["tree"][i].balance = i
        connection.commit()
    other.abort()
    verify(other)
    step("packed")

    crawled = sum(1 for _ in other.get_crawler())
    assert crawled > 3000, crawled
    step("crawled")
    connection.get_storage().close()
    other.get_storage().close()


def verify(connection):
    root = connection.get_root()
    assert dict(root["dict"]) == {"a": 1, "b": "zwei"}, dict(root["dict"])
    assert list(root["list"]) == list(range(10))
    assert root["large"] == LARGE
    assert len(root["tree"]) == 3000
    for i, (key, account) in enumerate(root["tree"].items()):
        assert (key, account.owner, account.balance) == (i, "owner %s" % i, i)


def check(address):
    connection = Connection(ClientStorage(address=address))
    verify(connection)
    root = connection.get_root()
    root["again"] = PersistentDict()
    connection.commit()
    assert root["again"]._p_oid not in (None, int8_to_str(0))
    del root["again"]
    connection.commit()
    step("checked")
    connection.get_storage().close()


def readonly(address):
    """What the server does not store is a conflict, and the client can go on."""
    connection = Connection(ClientStorage(address=address))
    root = connection.get_root()
    before = dict(root)
    for _ in range(3):
        root["new"] = PersistentDict()
        raises(WriteConflictError, connection.commit)
        connection.abort()
        assert dict(root) == before
    raises(ProtocolError, connection.get_storage().pack)
    connection.abort()
    assert dict(root) == before
    step("refused")
    connection.get_storage().close()


class Branch(Persistent):
    """A tree in which each branch knows how far it is from the root."""

    def __init__(self, depth, leaves=()):
        self.depth = depth
        self.leaves = list(leaves)
        self.marks = [depth] * (10 * depth)

    def right(self):
        assert self.marks == [self.depth] * len(self.marks), self.depth
        return all(leaf.depth == self.depth + 1 for leaf in self.leaves)


def plant(address):
    def grow(depth):
        return Branch(depth, [grow(depth + 1) for _ in range(4)] if depth < 5 else [])

    connection = Connection(ClientStorage(address=address))
    connection.get_root()["tree"] = grow(0)
    connection.commit()
    step("planted")
    connection.get_storage().close()


def graft(address, seed):
    """Changes branches, and puts new ones in the place of old ones that keep their leaves."""
    random = Random(int(seed))
    connection = Connection(ClientStorage(address=address), cache_size=50)
    commits = 0
    while commits < 60:
        try:
            if random.random() < 0.5:
                connection.abort()
            for _ in range(random.choice([1, 2, 5, 20])):
                parent, branch = None, connection.get_root()["tree"]
                while branch.leaves and (parent is None or random.random() < 0.8):
                    assert branch.right()
                    parent, branch = branch, random.choice(branch.leaves)
                if random.random() < 0.5:
                    parent.leaves[parent.leaves.index(branch)] = Branch(
                        branch.depth, branch.leaves
                    )
                    parent._p_note_change()
                else:
                    branch.marks = [branch.depth] * random.randrange(500)
            connection.commit()
            commits += 1
            if random.random() < 0.1:
                connection.pack()
        except ConflictError:
            connection.abort()
    step("grafted")
    connection.get_storage().close()


def stop(address):
    assert stop_durus(address)
    step("stopped")


def main(what, where, *args):
    address = where
    if "/" not in where:
        host, port = where.rsplit(":", 1)
        address = (host, int(port))
    parts = (storages, work, check, readonly, plant, graft, stop)
    {part.__name__: part for part in parts}[what](address, *args)


if __name__ == "__main__":
    main(*sys.argv[1:])
