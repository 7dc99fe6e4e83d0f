"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse($("data").textContent);
  const root = document.documentElement;
  for (const tools of all(".tools")) tools.hidden = false;
  for (const card of all(".card")) { // the pictures are in the page once, in the cards
    const sample = data.samples[card.dataset.sample];
    sample.whole.image = card.querySelector(".base").src;
    sample.whole.mask = card.querySelector(".mask").src;
  }

  // Light and dark: the system's choice until the button is pressed.
  const theme = $("theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const nameTheme = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Change to ${isDark() ? "light" : "dark"} colours`);
  };
  const memory = { // a file opened from disk may have no storage
    get() { try { return localStorage.getItem("ias-zoo-theme"); } catch { return null; } },
    set(value) { try { localStorage.setItem("ias-zoo-theme", value); } catch { /* not remembered, then */ } },
  };
  if (["light", "dark"].includes(memory.get())) root.dataset.theme = memory.get();
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    memory.set(root.dataset.theme);
    nameTheme();
  });
  systemDark.addEventListener("change", nameTheme);
  nameTheme();

  // Tables: a heading sorts; numbers start with the largest, missing values stay last.
  for (const table of all("table.sortable")) {
    const headings = all("thead tr:last-child th", table);
    headings.forEach((heading, column) => {
      heading.querySelector("button").addEventListener("click", () => {
        const rows = all("tbody tr", table);
        const value = (row) => row.cells[column].dataset.value;
        const known = rows.map(value).filter((text) => text !== undefined);
        const words = column === 0 || known.some((text) => Number.isNaN(Number(text)));
        const before = heading.getAttribute("aria-sort");
        const rising = before ? before === "descending" : words;
        rows.sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
          return (words ? x.localeCompare(y) : Number(x) - Number(y)) * (rising ? 1 : -1);
        });
        for (const other of headings) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
        table.tBodies[0].append(...rows);
      });
    });
  }

  // Filters, for the gallery and the worst samples alike.
  const wanted = {};
  const shown = (card) => Object.entries(wanted).every(([kind, value]) => value === null || card.dataset[kind] === value);
  const filter = () => {
    for (const cards of all(".cards")) {
      const visible = all(".card", cards).filter((card) => !(card.hidden = !shown(card))).length;
      cards.nextElementSibling.hidden = visible > 0;
      if (cards.id === "cards") $("count").textContent = `${visible} shown`;
    }
  };
  for (const group of all(".chips")) {
    const chips = all(".chip", group);
    for (const chip of chips) {
      chip.addEventListener("click", () => {
        wanted[group.dataset.filter] = chip.dataset.value ?? null;
        for (const other of chips) other.setAttribute("aria-pressed", String(other === chip));
        filter();
      });
    }
  }

  // Mask and close-up: one state for the gallery and the viewer.
  const state = { mask: true, close: false };
  const view = (sample) => (state.close && sample.close) || sample.whole;
  const toggle = (what) => {
    state[what] = !state[what];
    for (const button of all(`[data-toggle="${what}"]`)) button.setAttribute("aria-pressed", String(state[what]));
    if (what === "mask") root.classList.toggle("no-mask", !state.mask);
    if (what === "close") {
      for (const card of all(".card")) {
        const sample = data.samples[card.dataset.sample];
        if (!sample.close) continue;
        card.querySelector(".base").src = view(sample).image;
        card.querySelector(".mask").src = view(sample).mask;
      }
      if (current) draw();
    }
  };
  for (const button of all("[data-toggle]")) button.addEventListener("click", () => toggle(button.dataset.toggle));

  // The viewer: normal and synthetic under one slider, and the recipe.
  const viewer = $("viewer"), wipe = $("wipe"), frame = $("frame");
  let current = null;
  const slide = () => {
    const share = Number(wipe.value);
    $("normal").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    $("viewer-mask").style.clipPath = `inset(0 0 0 ${share}%)`;
    $("seam").style.left = `${share}%`;
    $("seam").hidden = share === 0 || share === 100;
    wipe.setAttribute("aria-valuetext", `${share} % normal`);
  };
  const draw = () => {
    const sample = data.samples[current.dataset.sample];
    const seen = view(sample);
    $("synthetic").src = seen.image;
    $("synthetic").alt = `Synthetic sample ${sample.name}`;
    $("viewer-mask").src = seen.mask;
    const normal = seen.normal === null ? null : data.normals[seen.normal];
    if (normal) $("normal").src = normal;
    else $("normal").removeAttribute("src");
    $("normal").hidden = $("slide").hidden = !normal;
    $("normal").alt = normal ? "The normal it was made from" : "";
    if (!normal) wipe.value = 0;
    $("no-normal").hidden = Boolean(normal);
    $("no-normal").textContent = `No slider: ${sample.why}`;
    $("viewer-close-up").hidden = !sample.close;
    const ratio = seen.width / seen.height;
    frame.style.aspectRatio = String(ratio);
    frame.style.width = `min(100%, ${(ratio * 62).toFixed(2)}dvh)`;
    viewer.toggleAttribute("data-small", Math.max(seen.width, seen.height) < 160);
    $("viewer-title").textContent = `${sample.defect} · ${sample.name}`;
    $("viewer-facts").replaceChildren(...sample.facts.map(([name, value]) => {
      const row = document.createElement("div");
      const term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name;
      text.textContent = value;
      row.append(term, text);
      return row;
    }));
    $("recipe").textContent = sample.recipe;
    const cards = neighbours();
    const place = cards.indexOf(current); // a button that is really disabled would lose the keyboard's focus
    $("previous").setAttribute("aria-disabled", String(place === 0));
    $("next").setAttribute("aria-disabled", String(place === cards.length - 1));
    slide();
  };
  const neighbours = () => all(".card:not([hidden])", current.parentElement);
  const move = (by) => {
    const cards = neighbours(), next = cards[cards.indexOf(current) + by];
    if (next) { current = next; draw(); }
  };
  for (const card of all(".card")) {
    card.addEventListener("click", () => {
      current = card;
      wipe.value = 0;
      draw();
      viewer.showModal();
      viewer.scrollTop = 0;
    });
  }
  wipe.addEventListener("input", slide);
  $("close").addEventListener("click", () => viewer.close());
  $("previous").addEventListener("click", () => move(-1));
  $("next").addEventListener("click", () => move(1));
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => { const card = current; current = null; card?.focus(); });
  document.addEventListener("keydown", (event) => {
    if (!viewer.open || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, pre")) return; // there the arrows mean something else
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
  });
})();
