// What is wrong with a field is said at the field.
import { h, said } from "./dom.js";
import { icon } from "./icons.js";

// `element` is the field with its label, `input` its control.
export function blame({ element, input }, ...sentence) {
  const id = `${input.id}-error`;
  const wrong = h("p.field-error", { id }, icon("failed"), h("span", {}, ...sentence));
  element.append(wrong);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", [input.getAttribute("aria-describedby"), id].filter(Boolean).join(" "));
  input.closest("details")?.setAttribute("open", "");
}

export function forgive({ element, input }) {
  element.querySelector(".field-error")?.remove();
  input.removeAttribute("aria-invalid");
  if (element.querySelector(".hint")) input.setAttribute("aria-describedby", `${input.id}-hint`);
  else input.removeAttribute("aria-describedby");
}

export const focusWrong = (element) => element.querySelector("[aria-invalid]")?.focus();

// Says at each field what the server has said of it; → whether it could for all.
export function blameAll(fields, element, wrong) {
  const blamed = fields.filter(({ name }) => Object.hasOwn(wrong, name));
  blamed.forEach((one) => blame(one, said(wrong[one.name])));
  focusWrong(element);
  return blamed.length > 0 && blamed.length === Object.keys(wrong).length;
}

// The fields of a form whose controls are in elements of the class "field".
export const fieldsOf = (form) => [...form.elements].filter((input) => input.name)
  .map((input) => ({ name: input.name, input, element: input.closest(".field") }));
