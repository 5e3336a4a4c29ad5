// Draws the figures of a search's report with Plotly, in the colours of the page's style sheet.
(async () => {
  "use strict";
  const places = [...document.querySelectorAll(".plot")];
  const say = (text) => places.forEach((place) => { place.textContent = text; place.style.height = "auto"; });

  async function unpacked(name) {
    const bytes = Uint8Array.from(atob(document.getElementById(name).textContent), (char) => char.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  if (!("DecompressionStream" in window)) {
    say("The charts need a browser of 2023 or later.");
    return;
  }
  const library = document.createElement("script");
  library.textContent = await unpacked("library");
  document.head.append(library);
  if (!window.Plotly) {
    say("The charts could not be loaded in this browser.");
    return;
  }
  const { columns, figures } = JSON.parse(await unpacked("data"));
  const webgl = Boolean(document.createElement("canvas").getContext("webgl"));
  const touch = matchMedia("(pointer: coarse)").matches;

  // A figure's values with the columns that they name, and with today's colours.
  function painted(value, style) {
    if (Array.isArray(value)) return value.map((each) => painted(each, style));
    if (typeof value === "string") {
      return value.startsWith("var(") ? style.getPropertyValue(value.slice(4, -1)).trim() : value;
    }
    if (value === null || typeof value !== "object") return value;
    if (Number.isInteger(value.column)) return columns[value.column];
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, painted(each, style)]));
  }

  const axis = {
    gridcolor: "var(--rule)", linecolor: "var(--soft)", zerolinecolor: "var(--rule)", automargin: true,
    title: { standoff: 8, font: { size: 12 } },
  };
  const common = {
    template: {
      layout: {
        xaxis: axis, yaxis: axis, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: "system-ui, sans-serif", size: 12, color: "var(--soft)" },
        hoverlabel: {
          bgcolor: "var(--paper)", bordercolor: "var(--rule)", font: { color: "var(--ink)" }, align: "left",
        },
        legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: "var(--soft)", activecolor: "var(--ink)" },
        margin: { l: 50, r: 14, t: 30, b: 40 },
      },
    },
    dragmode: touch ? false : "zoom",
    uirevision: "kept",
  };
  const settings = {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "", displayModeBar: touch || innerWidth < 700 ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d"],
  };

  async function draw(figure, place) {
    if (figure.kind === "brush" && !webgl) {
      place.textContent = "These lines need WebGL, which this browser does not have or has switched off.";
      place.style.height = "auto";
      return;
    }
    const style = getComputedStyle(document.documentElement);
    const layout = painted({ ...common, ...figure.layout }, style);
    await Plotly.react(place, painted(figure.data, style), layout, settings);
    if (figure.kind === "brush" && !place.dataset.brush) {
      place.dataset.brush = "on";
      place.on("plotly_restyle", () => tell(place));
    }
  }

  // Says which trials pass through all ranges that are kept.
  function tell(place) {
    const trace = place.data[0];
    const wanted = trace.dimensions.filter((each) => each.constraintrange);
    const within = (value, range) => value >= Math.min(...range) && value <= Math.max(...range);
    const passes = (row) => wanted.every(({ values, constraintrange: kept }) =>
      (Array.isArray(kept[0]) ? kept : [kept]).some((range) => within(values[row], range)));
    const rows = [...trace.customdata.keys()].filter(passes);
    rows.sort((one, other) => trace.line.color[other] - trace.line.color[one]);
    const best = rows.slice(0, 10).map((row) => trace.customdata[row]).join(", ");
    const said = `${rows.length} of ${trace.customdata.length} trials pass` + (rows.length ? `, the best: ${best}` : "");
    place.closest(".figure").querySelector(".brushed").textContent = wanted.length ? said : "";
  }

  async function drawAll() {
    for (const [number, figure] of figures.entries()) {
      await draw(figure, document.getElementById(`figure-${number}`));
      await new Promise((done) => setTimeout(done));
    }
    document.documentElement.dataset.drawn = String(Number(document.documentElement.dataset.drawn || 0) + 1);
  }

  let drawing = drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawing = drawing.then(drawAll); });
  await drawing;
})();
