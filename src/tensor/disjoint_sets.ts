/** Disjoint sets whose members are known by keys. `of` makes a set of one for a key that is new; sets are numbers, until the next union. */
export class DisjointSets {
  private readonly ids = new Map<string, number>();
  private readonly parent: number[] = [];

  of(key: string): number {
    let id = this.ids.get(key);
    if (id === undefined) {
      id = this.parent.length;
      this.ids.set(key, id);
      this.parent.push(id);
    }
    return this.find(id);
  }

  find(id: number): number {
    while (this.parent[id] !== id) {
      this.parent[id] = this.parent[this.parent[id]!]!;
      id = this.parent[id]!;
    }
    return id;
  }

  union(a: number, b: number): void {
    this.parent[this.find(a)] = this.find(b);
  }
}
