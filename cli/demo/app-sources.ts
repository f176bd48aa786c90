// The bookstore's programs as text: they are carried inside the executable and written out where the demo runs, because nothing
// else is certain on the machine.
// The bundler hands over the file's text, which the type checker does not know of a .ts file: hence the expected errors.

// @ts-expect-error text, not module
import details from "./apps/details.ts" with { type: "text" };
// @ts-expect-error text, not module
import echo from "./apps/echo.ts" with { type: "text" };
// @ts-expect-error text, not module
import productpage from "./apps/productpage.ts" with { type: "text" };
// @ts-expect-error text, not module
import ratings from "./apps/ratings.ts" with { type: "text" };
// @ts-expect-error text, not module
import reviews from "./apps/reviews.ts" with { type: "text" };

/** File name -> source text. */
export const APP_SOURCES: { readonly [file: string]: string } = {
  "details.ts": details,
  "echo.ts": echo,
  "productpage.ts": productpage,
  "ratings.ts": ratings,
  "reviews.ts": reviews,
};
