// The signs beside words: a status is told by its shape and its word, never by colour alone.
import { h, svg } from "./dom.js";

const PATHS = {
  queued: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11M8 5v3.2l2 1.4",
  running: "M6 3.8v8.4L12.2 8z",
  paused: "M6 4v8M10 4v8",
  completed: "M3.5 8.5l3 3l6-7",
  cancelled: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11M4.2 4.2l7.6 7.6",
  failed: "M4 4l8 8M12 4l-8 8",
  stuck: "M8 2.5L14.2 13H1.8zM8 6.5v3M8 11.2v.1",
  mail: "M2.5 4h11v8.5h-11zM2.5 4.5L8 9l5.5-4.5",
  receipt: "M4 2.5h8v11l-2-1.2l-2 1.2l-2-1.2l-2 1.2zM6.2 5.8h3.6M6.2 8.6h3.6",
  jobs: "M2.5 4.5h11M2.5 8h7.5M2.5 11.5h4",
};

export const icon = (name) =>
  svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] ?? PATHS.queued }));

export const chip = (name, label) => h(`span.chip.is-${name}`, {}, icon(name), h("span", {}, label));
