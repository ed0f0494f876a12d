// Elements made from code, never from markup: whatever a text says, it stays a text.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...there(children));
  return element;
}

// h("p.note.small", {id: "x", click: handler}, "text", otherElement); null attributes and children are left out.
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  return fill(element, attributes, children);
}

export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

// What people or machines have written: its direction is its own, and it leaves that of the sentence around it alone.
export const bdi = (text) => h("bdi", { dir: "auto" }, String(text));

// Ids, addresses, file names, codes.
export const code = (text) => h("bdi.code", { dir: "ltr" }, String(text));

// A sentence of the server, which speaks English.
export const said = (text) => h("bdi", { lang: "en", dir: "ltr" }, String(text));

// A text so long that it scrolls within its box can be reached by keyboard.
export function scrollable(element) {
  if (element.textContent.length > 300) element.tabIndex = 0;
  return element;
}

const there = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

// Changes a text only where it differs: a screen reader and a selection are left in peace.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setChildren(element, ...children) {
  element.replaceChildren(...there(children));
}

const alike = (a, b) => a.nodeName === b.nodeName && a.dataset?.key === b.dataset?.key;

// The same in place: what is there already stays, and with it the focus, a selection, how far it is scrolled, and whether
// a <details> is open. For what nobody listens to: an element that stays keeps its old listeners. Rows of a list that
// changes in its middle carry a data-key.
export function update(element, ...children) {
  const wanted = [...h("div", {}, there(children)).childNodes];
  wanted.forEach((node, index) => {
    const old = [...element.childNodes].slice(index).find((one) => alike(one, node));
    if (!old) {
      element.insertBefore(node, element.childNodes[index] ?? null);
      return;
    }
    while (element.childNodes[index] !== old) element.childNodes[index].remove();
    if (node instanceof Text) setText(old, node.data);
    else {
      takeAttributes(old, node);
      update(old, ...node.childNodes);
    }
  });
  while (element.childNodes.length > wanted.length) element.lastChild.remove();
}

function takeAttributes(old, { attributes }) {
  const names = [...old.attributes, ...attributes].map(({ name }) => name);
  for (const name of new Set(names)) {
    const value = attributes.getNamedItem(name)?.value ?? null;
    if (name === "open" || old.getAttribute(name) === value) continue;
    if (value === null) old.removeAttribute(name);
    else old.setAttribute(name, value);
  }
}

// A field with its label, and what to know before one fills it in.
let fields = 0;
export function field(label, control, { hint = null, wide = false } = {}) {
  const id = `field-${(fields += 1)}`;
  control.id = id;
  if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
  return h(wide ? "div.field.wide" : "div.field", {}, h("label", { for: id }, label), control,
    hint ? h("p.hint", { id: `${id}-hint` }, hint) : null);
}

export function select(name, options, chosen) {
  return h("select", { name }, options.map(([value, label]) =>
    h("option", { value, selected: value === (chosen ?? "") }, label)));
}

// A button that cannot be pressed twice: it is busy until `act` has ended.
export function button(label, act, { kind = "plain", ...attributes } = {}) {
  const element = h(`button.${kind}`, { type: "button", ...attributes }, label);
  element.addEventListener("click", async (event) => {
    if (element.getAttribute("aria-disabled") === "true") return;
    element.setAttribute("aria-disabled", "true");
    try {
      await act(event, element);
    } finally {
      element.removeAttribute("aria-disabled");
    }
  });
  return element;
}
