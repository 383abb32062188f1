import { Connection, FileStorage, Persistent } from "@dhara/dhara";

class Account extends Persistent {
  owner = "";
  balance = 0;
  deposit(amount: number) {
    this.balance += amount;
  }
}

using connection = new Connection(new FileStorage("bank.dhara"), {
  classes: { Account },
});
connection.root["ada"] ??= new Account();
connection.root["ada"].deposit(10);
connection.commit();

console.log(`Ada has ${connection.root["ada"].balance}`);
