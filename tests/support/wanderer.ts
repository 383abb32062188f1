/**
 * Uses a server at a relative path before and after it changes its directory,
 * which all threads of a process share.
 */
import { ClientStorage } from "../../mod.ts";

const [directory] = Deno.args;
const before = Deno.cwd();
Deno.chdir(directory!);
using storage = new ClientStorage({ address: "dhara.sock" });
using _one = storage.session();
Deno.chdir(before);
using two = storage.session();
console.log(two.sync().length);
