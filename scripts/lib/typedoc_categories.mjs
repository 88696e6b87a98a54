/**
 * The API reference: exports are sorted by the room of the house that they come from, so that none needs a tag of its own; and what an object type that is written down in the
 * middle of a signature holds, is said by the comment around it, so that its fields need none.
 */
import { basename, relative, sep } from 'node:path';
import { Comment, CommentTag, Converter, ReflectionKind } from 'typedoc';

const rooms = {
  tensor: 'Tensors',
  advantages: 'Estimators',
  losses: 'Losses',
  shaping: 'Shaping',
  models: 'Models',
  config: 'Configuration',
  data: 'Data',
  environments: 'Environments',
  tracking: 'Tracking',
  trainer: 'Training',
  lab: 'Workbench',
  workbench: 'Workbench',
};

/** Files outside of the rooms. */
const files = { 'native.ts': 'Tensors', 'options.ts': 'Configuration', 'registry.ts': 'Configuration', 'errors.ts': 'Errors' };

/** @param {import('typedoc').Application} app */
export function load(app) {
  app.converter.on(Converter.EVENT_CREATE_DECLARATION, (context, reflection) => {
    if (!reflection.parent?.isProject()) return;
    const file = context.getSymbolFromReflection(reflection)?.declarations?.[0]?.getSourceFile().fileName;
    if (file === undefined || reflection.kindOf(ReflectionKind.Reference)) return;
    const path = relative('src', file).split(sep);
    const category = path.length === 1 ? files[path[0]] : rooms[path[0]];
    if (category === undefined) throw new Error(`src/${path.join('/')} has no category in ${basename(import.meta.url)}`);
    // Functions carry their comments on their signatures, which are there later; a category is read from the declaration.
    reflection.comment ??= new Comment();
    reflection.comment.blockTags.push(new CommentTag('@category', [{ kind: 'text', text: category }]));
  }, -1000);
  app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    const checked = project.getReflectionsByKind(ReflectionKind.Property | ReflectionKind.ConstructorSignature).filter((each) => !each.hasComment() && !isOfParameter(each));
    const inline = checked.filter((each) => (each.kindOf(ReflectionKind.Property) ? each.parent.name === '__type' : each.parent.parent.kindOf(ReflectionKind.Property)));
    app.options.setValue('intentionallyNotDocumented', [...new Set(inline.map((each) => each.getFriendlyFullName()))]);
  });
}

/** What a parameter's type holds is not checked at all. */
function isOfParameter(reflection) {
  for (let at = reflection.parent; at; at = at.parent) if (at.kindOf(ReflectionKind.Parameter)) return true;
  return false;
}
