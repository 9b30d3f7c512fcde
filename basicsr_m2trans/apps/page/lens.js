// A magnifying glass over the comparison: the images on both sides of the slider at the pointer, one beside the other.
() => {
  const SIZE = 180; // of each half in CSS pixels
  const ZOOM = 4; // lens pixels for one image pixel

  const lens = document.createElement("div");
  lens.id = "lens";
  lens.style.cssText = "position:fixed;display:none;pointer-events:none;z-index:1000;gap:2px;background:#888;" +
    "border:2px solid #888;border-radius:8px;overflow:hidden;box-shadow:0 2px 12px #0008";
  const halves = [0, 1].map(() => {
    const half = document.createElement("div");
    half.style.cssText = `width:${SIZE}px;height:${SIZE}px;background-repeat:no-repeat;` +
      "background-color:#000;image-rendering:pixelated";
    lens.append(half);
    return half;
  });
  document.body.append(lens);

  // The pointer's place in the picture, from 0 to 1; the element is wider or higher than the picture that it holds.
  const place = (image, event) => {
    const box = image.getBoundingClientRect();
    const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
    const fraction = (pointer, start, length, natural) => (pointer - start - length / 2) / (natural * scale) + 0.5;
    return [
      fraction(event.clientX, box.left, box.width, image.naturalWidth),
      fraction(event.clientY, box.top, box.height, image.naturalHeight),
    ];
  };

  document.addEventListener("pointermove", (event) => {
    const images = [...document.querySelectorAll("#comparison img")].filter((image) => image.naturalWidth);
    const [x, y] = images.length === 2 ? place(images[0], event) : [-1, -1];
    const inside = x >= 0 && x <= 1 && y >= 0 && y <= 1;
    lens.style.display = inside ? "flex" : "none";
    if (!inside) return;
    images.forEach((image, index) => {
      const [width, height] = [image.naturalWidth * ZOOM, image.naturalHeight * ZOOM];
      Object.assign(halves[index].style, {
        backgroundImage: `url("${image.src}")`,
        backgroundSize: `${width}px ${height}px`,
        backgroundPosition: `${SIZE / 2 - x * width}px ${SIZE / 2 - y * height}px`,
      });
    });
    // Beside the pointer, on the side that has room.
    const total = lens.getBoundingClientRect();
    const left = event.clientX + 24 + total.width < innerWidth ? event.clientX + 24 : event.clientX - 24 - total.width;
    lens.style.left = `${Math.max(0, left)}px`;
    lens.style.top = `${Math.min(Math.max(0, event.clientY - total.height / 2), innerHeight - total.height)}px`;
  });
}
