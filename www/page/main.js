// The page, in the order in which it comes to life: bank, client, forms, and what watches them.

import { IdempotencyClient } from "../client/index.js";
import { findBank } from "./bank.js";
import { watchBank } from "./cashier.js";
import { isBeside, onDiary } from "./diary.js";
import { openEngineers } from "./engineers.js";
import { GuardedForm, OrdinaryForm } from "./forms.js";
import { drawLanes } from "./lanes.js";
import { watchPanels } from "./panels.js";
import { Stories, sayReady } from "./story.js";
import { visit } from "./visit.js";

const DATABASE = "idempotency-demo";

/** So long a receipt is taken for the answer to another press, unless it was acknowledged. */
const JOIN_MS = 600_000;

document.documentElement.classList.toggle("is-beside", isBeside);
for (const button of document.querySelectorAll("button")) button.disabled = true;

start().catch((error) => refuse(`The page does not start: ${error.message}`));

async function start() {
  const bank = await findBank();
  document.getElementById("bank-kind").textContent = bank.says;
  document.documentElement.dataset.bank = bank.kind;
  if (bank.kind === "none") return refuse(bank.says);
  const client = await IdempotencyClient.open({
    dbName: DATABASE,
    principal: () => visit.token,
    joinMs: JOIN_MS,
  });
  for (const button of document.querySelectorAll("button")) button.disabled = false;
  const again = document.getElementById("again");
  const ordinary = new OrdinaryForm();
  const guarded = new GuardedForm(client, (key) => (again.disabled = key === undefined));
  again.disabled = true;
  again.addEventListener("click", () => guarded.payAgainOnPurpose());
  onDiary(({ turned }) => {
    if (turned) [ordinary, guarded].forEach((form) => form.forget());
  });
  ordinary.card.showCode("page/ordinary_form.js");
  guarded.card.showCode("page/guarded_form.js");
  watchBank({ ordinary: ordinary.card, guarded: guarded.card });
  drawLanes();
  watchPanels(client, DATABASE);
  const stories = new Stories({ ordinary, guarded });
  const engineers = await openEngineers(DATABASE);
  sayReady();
  await Promise.all([stories.goOnAfterReload(), engineers.goOn()]);
}

function refuse(text) {
  const notice = document.getElementById("notice");
  notice.textContent = text;
  notice.hidden = false;
}
