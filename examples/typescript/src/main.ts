// A live table of the portfolios at risk: `npm start -- http://127.0.0.1:6066 70`. PLIMSOLL_TOKEN signs in.

import { connect } from "./plimsoll.ts";

interface Risk {
  portfolioId: string;
  advisorId: string;
  /** Decimal digits, too many for a number. Compare with BigInt. */
  sequence: string;
  /** 1 to 99; null where there is nothing to measure. */
  riskNumber: number | null;
  /** In the reporting currency; a loss is positive. */
  var95: number;
  marketValue: number;
  stale: boolean;
}

interface AtRisk {
  atRisk: { change: "ENTERED" | "UPDATED" | "LEFT"; risk: Risk };
}

interface Status {
  systemStatus: { status: string; stale: boolean; activePortfolios: number };
}

const AT_RISK = /* GraphQL */ `
  subscription AtRisk($riskThreshold: Int!) {
    atRisk(riskThreshold: $riskThreshold) {
      change
      risk { portfolioId advisorId sequence riskNumber var95 marketValue stale }
    }
  }
`;
const STATUS = /* GraphQL */ `
  query Status { systemStatus { status stale activePortfolios } }
`;
const STATUS_EVERY_MS = 5000;
const ROWS_MAX = 20;

const [url = "http://127.0.0.1:6066", threshold = "70"] = process.argv.slice(2);
const known = new Map<string, Risk>();
let status: Status["systemStatus"] | undefined;

// Who left while we were away is not told. The present list comes first on every connection: begin with nothing.
const plimsoll = connect(url, process.env["PLIMSOLL_TOKEN"], () => known.clear());

function apply({ change, risk }: AtRisk["atRisk"]): void {
  if (change === "LEFT") known.delete(risk.portfolioId);
  else known.set(risk.portfolioId, risk);
}

function draw(): void {
  const money = (amount: number) => amount.toLocaleString("en", { maximumFractionDigits: 0 });
  const rows = [...known.values()]
    .sort((a, b) => (b.riskNumber ?? 0) - (a.riskNumber ?? 0) || a.portfolioId.localeCompare(b.portfolioId))
    .slice(0, ROWS_MAX)
    .map((risk) => ({
      portfolio: risk.portfolioId,
      advisor: risk.advisorId,
      risk: risk.riskNumber,
      "VaR 95 %": money(risk.var95),
      value: money(risk.marketValue),
      stale: risk.stale ? "stale" : "",
    }));
  console.clear();
  console.log(`${known.size} of ${status?.activePortfolios ?? "?"} portfolios at ${threshold} or more; ${health()}`);
  if (rows.length) console.table(rows);
}

function health(): string {
  if (!status) return "the server does not answer";
  return status.stale ? "STALE: the engine is silent" : status.status;
}

// Snapshots stop coming when the engine stops, so nothing on the stream could say it: this asks.
async function watchStatus(): Promise<void> {
  status = await plimsoll.ask<Status>(STATUS).then(
    ({ systemStatus }) => systemStatus,
    () => undefined,
  );
  draw();
  setTimeout(watchStatus, STATUS_EVERY_MS);
}

void watchStatus();
try {
  for await (const { atRisk } of plimsoll.follow<AtRisk>(AT_RISK, { riskThreshold: Number(threshold) })) {
    apply(atRisk);
    draw();
  }
} catch (refused) {
  const closed = refused as { code?: number; reason?: string; message?: string };
  console.error(`refused: ${closed.reason || closed.message || String(refused)}`);
  process.exit(1);
}
