import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DecodeError } from "../../lib/errors.ts";
import {
  packRecord,
  readOid,
  recordData,
  recordDataEnd,
  recordOid,
  recordReferences,
  writeOid,
} from "../../lib/serialize/record.ts";

const oids = fc.oneof(
  fc.nat(300),
  fc.maxSafeNat(),
  fc.constantFrom(0xffffffff, 0x100000000, Number.MAX_SAFE_INTEGER),
);

Deno.test("packRecord() lays a record out as documented", () => {
  const record = packRecord(0x102, new Uint8Array([7, 8, 9]), [1, 2 ** 40]);
  // deno-fmt-ignore
  assertEquals([...record], [
    0, 0, 0, 0, 0, 0, 1, 2,
    0, 0, 0, 3,
    7, 8, 9,
    0, 0, 0, 0, 0, 0, 0, 1,
    0, 0, 1, 0, 0, 0, 0, 0,
  ]);
});

Deno.test("A record gives back what was put in", () => {
  fc.assert(
    fc.property(
      oids,
      fc.uint8Array({ maxLength: 50 }),
      fc.array(oids),
      (oid, data, references) => {
        const record = packRecord(oid, data, references);
        assertEquals(recordOid(record), oid);
        assertEquals([...recordData(record)], [...data]);
        assertEquals(recordDataEnd(record), 12 + data.length);
        assertEquals(recordReferences(record), references);
      },
    ),
  );
});

Deno.test("A record is read where it lies in a bigger buffer", () => {
  const record = packRecord(5, new Uint8Array([1, 2]), [6]);
  const buffer = new Uint8Array(100).fill(255);
  buffer.set(record, 33);
  const part = buffer.subarray(33, 33 + record.length);
  assertEquals(recordOid(part), 5);
  assertEquals([...recordData(part)], [1, 2]);
  assertEquals(recordReferences(part), [6]);
});

Deno.test("readOid() reads what writeOid() wrote, up to 2^53 - 1", () => {
  const view = new DataView(new ArrayBuffer(16));
  fc.assert(fc.property(oids, (oid) => {
    writeOid(view, 5, oid);
    assertEquals(readOid(view, 5), oid);
    assertEquals(view.getBigUint64(5), BigInt(oid));
  }));
});

Deno.test("readOid() refuses 2^53 and more", () => {
  const view = new DataView(new ArrayBuffer(8));
  for (const oid of [2n ** 53n, 2n ** 64n - 1n]) {
    view.setBigUint64(0, oid);
    assertThrows(
      () => readOid(view, 0),
      DecodeError,
      `Cannot read oid: ${oid} is 2^53 or more`,
    );
  }
});

Deno.test("A record cut at any byte is refused, but where a reference ends", () => {
  const record = packRecord(1, new Uint8Array(5), [2, 3]);
  const whole = [17, 25, 33];
  for (let length = 0; length < record.length; length++) {
    const part = record.subarray(0, length);
    if (whole.includes(length)) {
      assertEquals(recordReferences(part).length, (length - 17) / 8);
      continue;
    }
    for (const read of [recordOid, recordData, recordReferences]) {
      assertThrows(() => read(part), DecodeError, "Cannot read record: ");
    }
  }
});

Deno.test("A record whose data claims more bytes than there are is refused", () => {
  const record = packRecord(1, new Uint8Array(5), []);
  record.fill(255, 8, 12);
  assertThrows(
    () => recordData(record),
    DecodeError,
    "Cannot read record: 17 bytes do not fit 4294967295 bytes of data and whole references",
  );
});

Deno.test("A record with an oid that is too big is refused", () => {
  const record = packRecord(1, new Uint8Array(0), [2]);
  record[0] = 255;
  record[12] = 255;
  assertThrows(() => recordOid(record), DecodeError, "2^53 or more");
  assertThrows(() => recordReferences(record), DecodeError, "2^53 or more");
});
