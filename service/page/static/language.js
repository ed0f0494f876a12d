// Which language the page speaks, and its sentences. `lang` and `dir` change together.
import { bdi, said } from "./dom.js";
import { load } from "./modules.js";

const CATALOGUES = {}; // those that were spoken until now
const KEY = "longhaul.language";

export const LANGUAGES = { en: { name: "English", dir: "ltr" }, he: { name: "עברית", dir: "rtl" } };

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // the browser keeps nothing for us
  }
}

function first() {
  const wanted = [new URLSearchParams(location.search).get("lang"), remembered(), ...navigator.languages];
  return wanted.map((tag) => tag?.slice(0, 2).toLowerCase().replace("iw", "he")).find((tag) => LANGUAGES[tag]) ?? "en";
}

let current = first();
export const language = () => current;
// The reader's own region where it speaks the page's language: 26/11 or 11/26.
export const locale = () => navigator.languages.find((tag) => tag.slice(0, 2) === current) ?? (current === "en" ? "en-GB" : "he-IL");
export const isRightToLeft = () => LANGUAGES[current].dir === "rtl";

export async function speak(wanted = current) {
  CATALOGUES[wanted] ??= (await load(wanted)).default;
  current = wanted;
  document.documentElement.lang = wanted;
  document.documentElement.dir = LANGUAGES[wanted].dir;
}

export async function choose(wanted) {
  await speak(wanted);
  try {
    localStorage.setItem(KEY, wanted);
  } catch { /* then the address remembers it */ }
  const address = new URL(location.href);
  address.searchParams.set("lang", wanted);
  history.replaceState(history.state, "", address);
}

export const has = (key) => Object.hasOwn(CATALOGUES[current], key);

function sentence(key, values) {
  const found = CATALOGUES[current][key] ?? key;
  return typeof found === "string" ? found : (found[new Intl.PluralRules(locale()).select(values.n ?? 0)] ?? found.other);
}

const shown = (value) => (typeof value === "number" ? new Intl.NumberFormat(locale()).format(value) : String(value ?? ""));

// The sentence of this key, with {names} filled in; numbers as the language writes them. `n` chooses the plural.
export const t = (key, values = {}) => sentence(key, values).replace(/\{(\w+)\}/g, (_, name) => shown(values[name]));

// The same as children of an element: texts from outside are isolated, elements are put in as they are.
export function rich(key, values = {}) {
  return sentence(key, values).split(/\{(\w+)\}/).map((part, at) => {
    if (at % 2 === 0) return part;
    const value = values[part];
    return value instanceof Node ? value : typeof value === "number" ? shown(value) : bdi(value ?? "");
  });
}

// The catalogue's word for a code of the server; the code itself, in words, where the page does not know it yet.
export function word(group, name) {
  return has(`${group}.${name}`) ? t(`${group}.${name}`) : name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());
}

// The same as an element: what the page does not know is in the server's words.
export const label = (group, name) => (has(`${group}.${name}`) ? word(group, name) : said(word(group, name)));
