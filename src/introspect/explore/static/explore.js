// Keys, and pages changed in place. Everything here works without it, by links and forms; nothing is kept.
"use strict";

const byId = (name) => document.getElementById(name);
const say = (text) => { byId("status").textContent = text; };

let asked = 0;
let asking = new AbortController();

async function go(address, push) {
  const mine = ++asked;
  asking.abort();
  asking = new AbortController();
  const focused = document.activeElement && document.activeElement.id;
  let text;
  try {
    const answer = await fetch(address, { credentials: "omit", redirect: "follow", signal: asking.signal });
    text = await answer.text();
  } catch {
    if (mine !== asked) return;
    say("The explorer does not answer: it was stopped, or this machine slept. Start it again.");
    return;
  }
  if (mine !== asked) return;
  const found = new DOMParser().parseFromString(text, "text/html");
  const fresh = found.querySelector("#view");
  const drawn = (page) => page.querySelector("[data-figure]") !== null;
  if (!fresh || (drawn(fresh) && !drawn(document))) { location.assign(address); return; }
  const heading = fresh.querySelector("h1").textContent;
  byId("view").replaceWith(document.adoptNode(fresh));
  document.querySelector("header").replaceWith(document.adoptNode(found.querySelector("header")));
  document.title = found.title;
  if (push) history.pushState(null, "", address);
  const same = focused && byId(focused);
  (same || byId("view")).focus({ preventScroll: Boolean(same) });
  if (!same) scrollTo(0, 0);
  if (push) say(heading);
  ready();
}

function ready() {
  byId("keys").hidden = false;
  if (byId("view").dataset.again) {
    const waiting = location.href, before = asked;
    setTimeout(() => { if (location.href === waiting && asked === before) go(waiting, false); }, 1500);
  }
  for (const place of document.querySelectorAll("[data-figure]")) draw(place);
}

async function draw(place) {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "1";
  try {
    const answer = await fetch(place.dataset.figure, { credentials: "omit" });
    if (!answer.ok) throw new Error(answer.statusText);
    const figure = await answer.json();
    if (typeof Plotly === "undefined") {
      const script = document.createElement("script");
      script.src = document.querySelector('script[src*="/static/"]').src.replace(/[^/]*$/, "plotly.js");
      await new Promise((done, failed) => { script.onload = done; script.onerror = failed; document.head.append(script); });
    }
    await Plotly.newPlot(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
    place.dataset.drawn = "2";
  } catch {
    place.textContent = "This figure could not be drawn; its numbers are below.";
  }
}

function follow(name) {
  const link = byId(name) || document.querySelector(`#view a[rel="${name}"]`);
  if (!link) return false;
  link.click();
  return true;
}

function step(by) {
  const links = [...document.querySelectorAll("#view a.open")];
  if (!links.length) return follow(by > 0 ? "next" : "prev");
  const at = links.indexOf(document.activeElement);
  const wanted = at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by;
  if (wanted < 0 || wanted >= links.length) return follow(by > 0 ? "next" : "prev");
  links[wanted].focus();
  return true;
}

function read(token) {
  for (const old of document.querySelectorAll(".here")) old.classList.remove("here");
  token.classList.add("here");
  token.scrollIntoView({ block: "nearest" });
  say(`${token.textContent.trim() || "space"}: ${token.dataset.about}`);
}

function along(group, by) {
  const tokens = [...group.querySelectorAll("[data-about]")];
  const at = tokens.findIndex((token) => token.classList.contains("here"));
  const wanted = tokens[Math.max(0, Math.min(tokens.length - 1, at + by))];
  if (wanted) read(wanted);
}

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  "]": () => follow("deeper"),
  "[": () => follow("shallower"),
  "/": () => byId("filter") && (byId("filter").focus(), true),
  o: () => follow("overview"),
  l: () => follow("list"),
  f: () => follow("figures"),
  c: () => follow("compare"),
  "?": () => (byId("help").showModal(), true),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const group = event.target.closest && event.target.closest(".tokens[tabindex]");
  if (group && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
    along(group, event.key === "ArrowRight" ? 1 : -1);
    event.preventDefault();
    return;
  }
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.key !== "Escape") {
    if (event.target.tagName !== "SELECT" || !/^[jk\[\]]$/.test(event.key)) return;
  }
  if (event.key === "Escape") { event.target.blur(); return; }
  if (KEYS[event.key] && KEYS[event.key]()) event.preventDefault();
});

document.addEventListener("click", (event) => {
  const token = event.target.closest("[data-about]");
  if (token) { read(token); return; }
  if (event.target.closest("#keys")) { byId("help").showModal(); return; }
  const link = event.target.closest("a[data-swap]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.href, true);
});

function submitted(form) {
  const asked = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value) asked.set(name, value);
  go(`${form.action.split("?")[0]}?${asked}`, true);
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-swap]")) return;
  event.preventDefault();
  submitted(event.target);
});

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-swap]");
  if (!form || event.target.tagName !== "SELECT") return;
  const forgotten = event.target.dataset.forgets;
  if (forgotten && form.elements[forgotten]) form.elements[forgotten].disabled = true;
  submitted(form);
});

addEventListener("popstate", () => go(location.href, false));
ready();
