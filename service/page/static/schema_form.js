// A form from a JSON Schema as pydantic writes it: texts, numbers, days, choices, yes or no; anything else as JSON.
// What the browser can check of it, it checks; what the server refuses is said at the field.
import { bdi, field, h, said, select } from "./dom.js";
import { blame, blameAll, focusWrong, forgive } from "./field_errors.js";
import { has, t } from "./language.js";

// What a property really is: its $ref followed, the "or null" left out.
function plain(schema, root) {
  if (schema.$ref) return { ...plain(root.$defs[schema.$ref.split("/").at(-1)], root), ...schema, $ref: undefined };
  const some = schema.anyOf?.filter((one) => one.type !== "null");
  if (some?.length === 1) return { ...schema, ...plain(some[0], root), anyOf: undefined };
  if (schema.allOf?.length === 1) return { ...schema, ...plain(schema.allOf[0], root), allOf: undefined };
  if (schema.const !== undefined) return { ...schema, enum: [schema.const] };
  return schema;
}

const given = (value) => (value === undefined || value === null ? "" : String(value));

// A schema's pattern may match anywhere, an input's has to match all of it. One that the browser does not read is the
// server's to check.
function patternOf({ pattern }) {
  try {
    return pattern === undefined || !new RegExp(pattern, "v") ? null : `.*(?:${pattern}).*`;
  } catch {
    return null;
  }
}

const safe = (limit) => (Number.isSafeInteger(limit) || !Number.isInteger(limit) ? limit : null);

function numberInput(schema, attributes) {
  const step = schema.type === "integer" ? 1 : null; // next to a limit that is itself outside
  const { exclusiveMinimum: above, exclusiveMaximum: below } = schema;
  return h("input", { type: "number", dir: "ltr", step: schema.multipleOf ?? step ?? "any", ...attributes,
    min: safe(schema.minimum ?? (above === undefined ? null : above + step)), max: safe(schema.maximum ?? (below === undefined ? null : below - step)) });
}

function control(name, schema, required) {
  const value = schema.default;
  const common = { name, required };
  if (schema.enum) {
    const options = schema.enum.map((one) => [String(one), has(`option.${one}`) ? t(`option.${one}`) : String(one)]);
    const choice = select(name, given(value) ? options : [["", t("form.unset")], ...options], given(value));
    choice.required = required;
    return choice;
  }
  if (schema.type === "boolean") return h("input", { type: "checkbox", name, checked: value === true });
  if (schema.type === "integer" || schema.type === "number") {
    return numberInput(schema, { ...common, value: given(value) });
  }
  if (schema.format === "date") return h("input", { type: "date", ...common, value: given(value) });
  if (schema.type === "string") {
    return h("input", { type: schema.format === "password" ? "password" : "text", ...common, value: given(value), dir: "auto", autocomplete: "off",
      minlength: schema.minLength ?? null, maxlength: schema.maxLength ?? null, pattern: patternOf(schema) });
  }
  return h("textarea.mono", { ...common, rows: "4", dir: "ltr", spellcheck: "false" }, value === undefined || value === null ? "" : JSON.stringify(value));
}

function valueOf(input, schema) {
  if (input.type === "checkbox") return input.checked;
  if (input.value === "") return undefined;
  if (schema.enum) return schema.enum.find((one) => String(one) === input.value);
  if (schema.type === "integer" || schema.type === "number") return Number(input.value);
  if (schema.type === "string") return input.value;
  return JSON.parse(input.value);
}

const labelOf = (name, schema) => (has(`field.${name}`) ? t(`field.${name}`) : said(schema.title ?? name));

// → {element, read(), refuse(fields)}; read() gives {params, confirm}, or null where a field does not hold what it should;
// refuse() says at each field what the server has said of it, and whether it could.
export function schemaForm(root, word) {
  const names = Object.keys(root.properties ?? {});
  const fields = names.map((name) => {
    const schema = plain(root.properties[name], root);
    const required = root.required?.includes(name) ?? false;
    const input = control(name, schema, required && schema.type !== "boolean");
    const optional = !required && !given(schema.default) && schema.type !== "boolean";
    const label = optional ? h("span", {}, labelOf(name, schema), " ", t("form.optional")) : labelOf(name, schema);
    const about = has(`field_hint.${name}`) ? t(`field_hint.${name}`) : schema.description ? said(schema.description) : null;
    return { name, schema, input, element: field(label, input, { wide: true, hint: about }) };
  });
  const confirm = word ? h("input.mono", { type: "text", name: "confirm", required: true, dir: "ltr", autocomplete: "off", spellcheck: "false" }) : null;
  const confirmed = confirm ? [{ name: "confirm", input: confirm, element: field(t("delete.label", { word }), confirm, { wide: true }) }] : [];
  const all = [...fields, ...confirmed];
  const element = h("div.stack", {}, all.length ? all.map((one) => one.element) : h("p.quiet", {}, t("start.no_params")));
  return {
    element,
    read() {
      all.forEach(forgive);
      const params = {};
      for (const one of fields) {
        try {
          params[one.name] = valueOf(one.input, one.schema); // undefined is not sent
        } catch (error) {
          blame(one, t("error.json"), " ", bdi(error.message));
        }
      }
      focusWrong(element);
      return element.querySelector("[aria-invalid]") ? null : { params, confirm: confirm?.value.trim() };
    },
    refuse: (wrong) => blameAll(all, element, wrong),
  };
}
