/** Moments as people write and read them, wherever they are. */
import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../lib/cli/options.ts";
import { parseMoment } from "../../lib/cli/time.ts";

// The zone of a process is not its own there.
const ignore = Deno.build.os === "windows";

/** Evaluates code in a process that stands elsewhere; the result is JSON. */
async function inZone(zone: string, code: string): Promise<unknown> {
  const module = import.meta.resolve("../../lib/cli/time.ts");
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["eval", "-q", "--no-lock"],
      `import { formatTime, parseMoment } from ${JSON.stringify(module)};
      console.log(JSON.stringify(${code}));`,
    ],
    env: { TZ: zone },
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test({
  name: "parseMoment() takes local time, and time with an offset",
  ignore,
  async fn() {
    const local = [
      "2026-01-02",
      "2026-01-02T00:00",
      "2026-01-02 00:00:00",
      "2026-01-02t00:00:00.000000",
    ];
    const exact = [
      "2026-01-02T10:00Z",
      "2026-01-02 10:00 z",
      "2026-01-02T11:00:00+01:00",
      "2026-01-02T04:30:00.000-05:30",
    ];
    const zones = [
      ["America/New_York", "2026-01-02T05:00:00.000Z"],
      ["Asia/Kolkata", "2026-01-01T18:30:00.000Z"],
      ["UTC", "2026-01-02T00:00:00.000Z"],
    ] as const;
    for (const [zone, midnight] of zones) {
      const texts = JSON.stringify([...local, ...exact]);
      assertEquals(await inZone(zone, `${texts}.map(parseMoment)`), [
        ...local.map(() => midnight),
        ...exact.map(() => "2026-01-02T10:00:00.000Z"),
      ]);
    }
  },
});

Deno.test({
  name:
    "formatTime() gives local time with its offset, which parseMoment() takes",
  ignore,
  async fn() {
    const date = "2026-01-02T10:00:00.123Z";
    const zones = [
      ["America/New_York", "2026-01-02T05:00:00.123-05:00"],
      ["America/St_Johns", "2026-01-02T06:30:00.123-03:30"],
      ["Asia/Kolkata", "2026-01-02T15:30:00.123+05:30"],
      ["UTC", "2026-01-02T10:00:00.123+00:00"],
    ] as const;
    for (const [zone, text] of zones) {
      const formatted = `formatTime(new Date("${date}"))`;
      assertEquals(
        await inZone(zone, `[${formatted}, parseMoment(${formatted})]`),
        [text, date],
      );
    }
  },
});

Deno.test("parseMoment() takes a transaction's number, and refuses what is neither", () => {
  assertEquals(parseMoment("1795600000000000"), 1795600000000000);
  assertEquals(parseMoment("12345"), 12345);
  for (
    const text of [
      "",
      "2026",
      "9999999999999999",
      "yesterday",
      "2026-13-01",
      "2026-01-02T25:00",
      "2026-01-02T10",
      "1969-12-31T23:59:59Z",
    ]
  ) assertThrows(() => parseMoment(text), UsageError, "Cannot take --at");
});
