// Numbers, money, days and spans of time, as the reader's language writes them.
import { locale, t } from "./language.js";

const made = new Map();
function formatter(Kind, options) {
  const key = `${locale()} ${Kind.name} ${JSON.stringify(options)}`;
  if (!made.has(key)) made.set(key, new Kind(locale(), options));
  return made.get(key);
}

export const number = (value, digits = 0) =>
  formatter(Intl.NumberFormat, { maximumFractionDigits: digits, minimumFractionDigits: 0 }).format(value);

export const percent = (value) =>
  formatter(Intl.NumberFormat, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(value / 100);

// `amount` is a decimal number as a text, and stays exact.
export function money(amount, currency) {
  try {
    return formatter(Intl.NumberFormat, { style: "currency", currency }).format(amount);
  } catch {
    return `${amount} ${currency}`; // no code of a currency
  }
}

const date = (iso, options) => (iso ? formatter(Intl.DateTimeFormat, options).format(new Date(iso)) : "");

// A receipt's day is a day in UTC, as the filter means it.
export const day = (iso) => date(iso, { dateStyle: "medium", timeZone: "UTC" });
export const moment = (iso) => date(iso, { dateStyle: "medium", timeStyle: "short" });
export const exact = (iso) => date(iso, { dateStyle: "medium", timeStyle: "medium" });
export const clock = (iso) => date(iso, { timeStyle: "medium" });

const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

export function ago(iso, now = Date.now()) {
  const seconds = Math.min(0, Math.round((new Date(iso).getTime() - now) / 1000));
  const [unit, size] = UNITS.find(([, size]) => -seconds >= size) ?? UNITS.at(-1);
  return formatter(Intl.RelativeTimeFormat, { numeric: "auto" }).format(Math.trunc(seconds / size), unit);
}

const counted = (unit, unitDisplay = "long") =>
  formatter(Intl.NumberFormat, { style: "unit", unit, unitDisplay, maximumFractionDigits: 1 });

// 95 → "1 min 35 sec"; two units at most.
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole === 0) return counted("second", "short").format(Math.round(Math.max(0, seconds) * 10) / 10);
  const at = UNITS.findIndex(([, size]) => whole >= size);
  const [unit, size] = UNITS[at];
  const parts = [counted(unit, "short").format(Math.floor(whole / size))];
  const rest = UNITS[at + 1];
  const more = rest ? Math.floor((whole % size) / rest[1]) : 0;
  if (more) parts.push(counted(rest[0], "short").format(more));
  return parts.join(" ");
}

// An honest span, rounded outwards: "2–3 minutes", "less than a minute".
export function range({ low, high }) {
  const [unit, size, step] = high < 90 ? ["second", 1, high < 30 ? 5 : 10]
    : high < 5_400 ? ["minute", 60, high < 1_200 ? 1 : 5] : high < 129_600 ? ["hour", 3_600, 0.5] : ["day", 86_400, 0.5];
  const from = Math.floor(low / size / step) * step;
  const to = Math.max(Math.ceil(high / size / step) * step, step);
  if (from <= 0) return t("time_left.below", { time: counted(unit).format(to) });
  if (from === to) return t("time_left.about", { time: counted(unit).format(to) });
  return counted(unit).formatRange(from, to);
}
